import hashlib
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.datasets.dataset import DEFAULT_FRACTIONS
from workers.datasets.splits import TEST, TRAIN, VALIDATION, content_digest, groups, share_out
from workers.datasets.spool import NO_SPLIT

FRACTIONS = st.sampled_from(
    [DEFAULT_FRACTIONS]
    + [
        {"train": train, "validation": validation, "test": 1 - train - validation}
        for train, validation in ((0.5, 0.25), (0.1, 0.1), (0.9, 0.0), (0.01, 0.495), (0.98, 0.01))
    ]
)
LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120)
SEEDS = st.integers(0, 2**31 - 1)


def digests_of(contents: list[int]) -> bytes:
    return b"".join(hashlib.sha256(str(content).encode()).digest() for content in contents)


@settings(deadline=None)
@given(labels=LABELS, fractions=FRACTIONS, seed=SEEDS)
def test_splits_are_disjoint_whole_and_hold_every_class_where_counts_allow(
    labels: list[int], fractions: dict[str, float], seed: int
) -> None:
    splits = share_out(labels, digests_of(list(range(len(labels)))), [NO_SPLIT] * len(labels), fractions, seed)
    assert sorted(np.concatenate(splits).tolist()) == list(range(len(labels)))
    counts = [Counter(labels[index] for index in split.tolist()) for split in splits]
    for label, count in Counter(labels).items():
        assert counts[TRAIN][label] >= 1
        if count >= 2:
            assert counts[TEST][label] >= 1
        if count >= 3 and fractions["validation"]:
            assert counts[VALIDATION][label] >= 1
        for split, name in ((TEST, "test"), (VALIDATION, "validation")):
            assert counts[split][label] <= max(1, count * fractions[name] + 1)
            assert counts[split][label] >= min(count * fractions[name] - 2, count - 2)


@settings(deadline=None)
@given(data=st.data(), labels=LABELS, fractions=FRACTIONS, seed=SEEDS)
def test_the_order_of_arrival_changes_nothing(
    data: st.DataObject, labels: list[int], fractions: dict[str, float], seed: int
) -> None:
    contents = data.draw(st.lists(st.integers(0, 30), min_size=len(labels), max_size=len(labels)))
    order = data.draw(st.permutations(range(len(labels))))

    def shared(indices: list[int]) -> tuple[list, str]:
        chosen, digests = [labels[i] for i in indices], digests_of([contents[i] for i in indices])
        splits = share_out(chosen, digests, [NO_SPLIT] * len(indices), fractions, seed)
        named = [[(chosen[i], contents[indices[i]]) for i in split.tolist()] for split in splits]
        return named, content_digest({"seed": seed}, chosen, digests, splits)

    assert shared(list(range(len(labels)))) == shared(list(order))


@settings(deadline=None)
@given(copies=st.lists(st.integers(1, 6), min_size=3, max_size=40), fractions=FRACTIONS, seed=SEEDS)
def test_copies_stay_together_where_a_class_has_enough_different_images(
    copies: list[int], fractions: dict[str, float], seed: int
) -> None:
    contents = [content for content, count in enumerate(copies) for _ in range(count)]
    splits = share_out([0] * len(contents), digests_of(contents), [NO_SPLIT] * len(contents), fractions, seed)
    found = [{contents[index] for index in split.tolist()} for split in splits]
    assert sum(map(len, found)) == len(copies) and found[TRAIN] and found[TEST]


@settings(deadline=None)
@given(data=st.data(), labels=LABELS, seed=SEEDS)
def test_given_splits_are_kept_and_only_missing_ones_come_out_of_training(
    data: st.DataObject, labels: list[int], seed: int
) -> None:
    given = data.draw(st.lists(st.sampled_from([TRAIN, TEST]), min_size=len(labels), max_size=len(labels)))
    splits = share_out(labels, digests_of(list(range(len(labels)))), given, DEFAULT_FRACTIONS, seed)
    assert sorted(np.concatenate(splits).tolist()) == list(range(len(labels)))
    for split, indices in enumerate(splits):
        for index in indices.tolist():
            assert split == given[index] or (given[index] == TRAIN and (split == VALIDATION or TEST not in given))


def test_a_seed_decides_who_is_tested() -> None:
    digests = digests_of(list(range(200)))
    one, other, again = (
        share_out([0, 1] * 100, digests, [NO_SPLIT] * 200, DEFAULT_FRACTIONS, seed)[TEST].tolist() for seed in (1, 2, 1)
    )
    assert one == again and set(one) != set(other)


@given(contents=st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_groups_are_those_of_equal_content(contents: list[int]) -> None:
    numbers = groups(digests_of(contents)).tolist()
    for i, one in enumerate(contents):
        for j, other in enumerate(contents):
            assert (one == other) == (numbers[i] == numbers[j])
