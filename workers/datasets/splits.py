"""Shares examples out over train, validation and test, the same way for the same images whatever their order.

Every example has a place that follows from the seed and its pixels alone. Within a class the examples at the first
places go to the test, the next to validation, the rest to training, so each split has the classes in their shares.
Copies of one image stay together where a class has enough different ones.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.datasets.dataset import IMAGE_CLASSIFICATION, SCHEMA, SPLITS
from workers.datasets.spool import NO_SPLIT

Indices = NDArray[np.int64]

TRAIN, VALIDATION, TEST = range(len(SPLITS))


def share_out(
    labels: Sequence[int], digests: bytes | bytearray, given: Sequence[int], fractions: Mapping[str, float], seed: int
) -> tuple[Indices, ...]:
    """Decides the split of every example and its place there.

    Args:
        labels: Index of each example's label.
        digests: 32 bytes for each example.
        given: The split that the upload gave each example, ``NO_SPLIT`` where none; all or nothing. Splits that an
            upload with given ones lacks are taken out of its training examples.
        fractions: Share of each split.
        seed: Decides the places.

    Returns:
        For each of ``SPLITS`` the examples in their order.
    """
    label_of = np.asarray(labels, np.int64)
    split_of = np.asarray(given, np.int64)
    order = _places(label_of, digests, seed)
    group_of = groups(digests)
    present = set(np.unique(split_of).tolist()) - {NO_SPLIT}
    wanted = {
        split: fractions[SPLITS[split]]
        for split in (TEST, VALIDATION)
        if split not in present and fractions[SPLITS[split]] > 0
    }
    whole = fractions[SPLITS[TRAIN]] + sum(wanted.values())
    split_of[split_of == NO_SPLIT] = TRAIN
    if wanted:
        pool = order[split_of[order] == TRAIN]
        for label in np.unique(label_of):
            examples = pool[label_of[pool] == label]
            targets = _targets(len(examples), {split: share / whole for split, share in wanted.items()})
            for split, chosen in _cut(examples, group_of, targets).items():
                split_of[chosen] = split
    return tuple(order[split_of[order] == split] for split in range(len(SPLITS)))


def groups(digests: bytes | bytearray) -> Indices:
    """A number for each example that it shares with its copies only."""
    words = _words(digests)
    order = np.lexsort(words.T[::-1])
    firsts = np.ones(len(words), bool)
    firsts[1:] = (words[order][1:] != words[order][:-1]).any(axis=1)
    numbers = np.empty(len(words), np.int64)
    numbers[order] = np.cumsum(firsts) - 1
    return numbers


def content_digest(
    facts: Mapping[str, Any], labels: Sequence[int], digests: bytes | bytearray, splits: Sequence[Indices]
) -> str:
    """The digest of a data set: its facts, then label and pixels of every example in order.

    Args:
        facts: Labels, seed, shapes: whatever tells two sets of the same examples apart.
        labels: Index of each example's label.
        digests: 32 bytes for each example.
        splits: The examples of each of ``SPLITS`` in order.
    """
    head = {"schema": SCHEMA, "kind": IMAGE_CLASSIFICATION, **facts}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    for name, examples in zip(SPLITS, splits, strict=True):
        digest.update(f"\n{name} {len(examples)}\n".encode())
        for index in examples.tolist():
            digest.update(labels[index].to_bytes(4, "little") + digests[32 * index : 32 * index + 32])
    return digest.hexdigest()


def _places(labels: Indices, digests: bytes | bytearray, seed: int) -> Indices:
    prefix = seed.to_bytes(8, "little")
    keys = b"".join(
        hashlib.sha256(prefix + digests[start : start + 32]).digest() for start in range(0, len(digests), 32)
    )
    return np.lexsort((labels, *_words(keys).T[::-1]))


def _words(digests: bytes | bytearray) -> NDArray[np.uint64]:
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 4)


def _targets(examples: int, shares: Mapping[int, float]) -> dict[int, int]:
    """How many examples of a class leave training: at least one for each split while training keeps one."""
    targets: dict[int, int] = {}
    for split, share in shares.items():
        room = examples - 1 - sum(targets.values())
        targets[split] = min(max(1, round(examples * share)), max(0, room))
    # A large test must not starve validation.
    empty = [split for split, target in targets.items() if not target]
    for split in empty:
        richest = max(targets, key=targets.__getitem__)
        if targets[richest] > 1:
            targets[richest] -= 1
            targets[split] = 1
    return targets


def _cut(examples: Indices, group_of: Indices, targets: Mapping[int, int]) -> dict[int, Indices]:
    """Takes the examples of each split off the front, whole groups of copies at a time where there are enough."""
    starts = np.flatnonzero(np.diff(group_of[examples], prepend=-1))
    if len(starts) <= len(targets):
        starts = np.arange(len(examples))
    bounds = [*starts.tolist(), len(examples)]
    chosen: dict[int, Indices] = {}
    unit = 0
    for rank, (split, target) in enumerate(targets.items()):
        begin = unit
        keep = 1 + sum(map(bool, list(targets.values())[rank + 1 :]))  # units for training and the splits after this
        while bounds[unit] - bounds[begin] < target and len(starts) - unit > keep:
            unit += 1
        chosen[split] = examples[bounds[begin] : bounds[unit]]
    return chosen
