from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from shared.models.signature import Signature
from shared.settings import BatchingSettings
from workers.inference.batch import run_batch
from workers.inference.decoding import DecodedJob

TOLERANCE = 1e-5
#: How far the answers of any two rows of a pool lie apart, so that a mixed-up answer cannot pass for a right one.
APART = 100 * TOLERANCE
ROWS = 24

LIMITS = st.sampled_from(
    [
        BatchingSettings(),
        BatchingSettings(max_batch_rows=4, allowed_batch_sizes=(1, 2, 4)),
        BatchingSettings(max_batch_rows=8, allowed_batch_sizes=(3, 8)),
        BatchingSettings(max_batch_rows=16, allowed_batch_sizes=(16,), max_decoded_bytes=10_000),
    ]
)
JOBS = st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=6), min_size=1, max_size=12)
few_but_real = profile(max_examples=25, derandomize=True, deadline=None, database=None)


@dataclass
class Pool:
    """Rows, and what the model answers to each of them alone, in its own shape and without any padding."""

    rows: list[dict[str, np.ndarray]]
    answers: np.ndarray


class Faulty:
    """A model with a bug planted into its calls."""

    def __init__(self, model: Any, fault: Callable[[np.ndarray], np.ndarray]) -> None:
        self.model, self.fault = model, fault
        self.signature, self.labels = model.signature, model.labels
        self.version_id, self.memory_bytes = model.version_id, 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {name: self.fault(values) for name, values in self.model.run(inputs).items()}


def pool_of(model: Any, candidates: Sequence[np.ndarray]) -> Pool:
    name, output = model.signature.inputs[0].name, model.signature.outputs[0].name
    rows: list[dict[str, np.ndarray]] = []
    answers: list[np.ndarray] = []
    for array in candidates:
        answer = model.run({name: array[np.newaxis]})[output][0]
        if len(rows) < ROWS and all(np.abs(answer - other).max() >= APART for other in answers):
            rows.append({name: array})
            answers.append(answer)
    assert len(rows) == ROWS
    return Pool(rows, np.array(answers))


def check(model: Any, pool: Pool, jobs: Sequence[Sequence[int]], limits: BatchingSettings) -> None:
    decoded = [DecodedJob([pool.rows[index] for index in job], len(job) > 1) for job in jobs]
    for job, result in zip(jobs, run_batch(model, decoded, limits), strict=True):
        for index, answer in zip(job, result if len(job) > 1 else [result], strict=True):
            assert np.abs(scores_of(model, answer) - pool.answers[index]).max() <= TOLERANCE


def scores_of(model: Any, answer: Any) -> np.ndarray:
    if not isinstance(answer, dict):
        return np.array(answer)
    by_label = {score["label"]: score["score"] for score in answer["scores"]}
    return np.array([by_label[label] for label in model.labels])


def assert_apart(answers: np.ndarray) -> None:
    distances = np.abs(answers[:, None] - answers[None]).max(axis=2)
    assert distances[~np.eye(len(answers), dtype=bool)].min() >= 100 * TOLERANCE


@pytest.fixture(scope="module")
def pictures(cnn: Any) -> Pool:
    random = np.random.default_rng(7)
    shades = random.integers(0, 256, (200, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    noise = random.integers(-20, 20, (200, 32, 32, 3))
    return pool_of(cnn, list((shades + noise).clip(0, 255).astype(np.uint8)))


@pytest.fixture(scope="module")
def sentences(text_models: Any) -> Pool:
    random = np.random.default_rng(8)
    return pool_of(text_models[0], [random.integers(1, 50, random.integers(1, 20), np.int32) for _ in range(100)])


def test_the_answers_of_the_rows_lie_a_hundred_tolerances_apart(pictures: Pool, sentences: Pool) -> None:
    assert_apart(pictures.answers)
    assert_apart(sentences.answers)
    assert len({len(row["tokens"]) for row in sentences.rows}) > 5


@given(jobs=JOBS, limits=LIMITS)
@few_but_real
def test_any_batch_answers_pictures_as_each_alone(cnn, pictures, jobs, limits) -> None:
    check(cnn, pictures, jobs, limits)


@given(jobs=JOBS, limits=LIMITS)
@few_but_real
def test_any_batch_answers_padded_texts_as_each_alone(text_models, sentences, jobs, limits) -> None:
    check(text_models[0], sentences, jobs, limits)


def test_texts_of_different_lengths_really_share_calls(text_models, sentences) -> None:
    calls: list[tuple[int, ...]] = []
    counted = Faulty(text_models[0], lambda values: calls.append(values.shape) or values)
    check(counted, sentences, [[index] for index in range(ROWS)], BatchingSettings())
    assert len(calls) <= 6


@pytest.mark.parametrize("kind", ["pictures", "sentences"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda values: values[[1, 0, *range(2, len(values))]] if len(values) > 1 else values,
        lambda values: np.roll(values, 1, axis=0),
        lambda values: values[::-1],
        lambda values: np.repeat(values[:1], len(values), axis=0),
        lambda values: values + 2 * TOLERANCE,
    ],
    ids=["rows swapped", "rows shifted", "rows reversed", "first row for all", "slightly wrong"],
)
def test_the_check_finds_mixed_up_rows(kind, fault, cnn, text_models, pictures, sentences) -> None:
    model, pool = {"pictures": (cnn, pictures), "sentences": (text_models[0], sentences)}[kind]
    with pytest.raises(AssertionError):
        check(Faulty(model, fault), pool, [[index] for index in range(ROWS)], BatchingSettings())


def test_the_check_finds_a_dropped_mask(text_models, sentences) -> None:
    masked, unmasked = text_models
    same_weights = Pool(sentences.rows, pool_answers(unmasked, sentences))
    with pytest.raises(AssertionError):
        check(unmasked, same_weights, [[index] for index in range(ROWS)], BatchingSettings())
    with pytest.raises(AssertionError):
        check(unmasked, sentences, [[index] for index in range(ROWS)], BatchingSettings())
    check(masked, sentences, [[index] for index in range(ROWS)], BatchingSettings())


def pool_answers(model: Any, pool: Pool) -> np.ndarray:
    return np.array([model.run({"tokens": row["tokens"][np.newaxis]})["scores"][0] for row in pool.rows])


def test_the_check_finds_zeros_counted_as_words(numpy_model, signature_of) -> None:
    signature: Signature = signature_of((1,), tokens=("tensor", "int32", (None,), True))
    model = numpy_model(signature, lambda tokens: tokens.mean(axis=1, keepdims=True).astype("float32"))
    pool = pool_of(model, [np.full(1 + index % 7, index + 1, np.int32) for index in range(ROWS)])
    check(model, pool, [[0], [1]], BatchingSettings())  # lengths 1 and 2 need no padding
    with pytest.raises(AssertionError):
        check(model, pool, [[2]], BatchingSettings())
