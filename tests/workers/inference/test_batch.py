from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from shared.errors import InputError, JobError, PredictionError
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.settings import BatchingSettings
from workers.inference.batch import DROPPED, run_batch
from workers.inference.decoding import DecodedJob

BATCHING = BatchingSettings(max_batch_rows=8, allowed_batch_sizes=(1, 2, 4, 8))


@pytest.fixture
def doubler(numpy_model: Any, signature_of: Callable[..., Signature]) -> Any:
    """Answers twice the number it is given."""
    return numpy_model(signature_of(x=("tensor", "float32", ())), lambda x: x * 2)


def job(*values: Any, many: bool | None = None, dtype: str = "float32") -> DecodedJob:
    rows = [{"x": np.array(value, dtype)} for value in values]
    return DecodedJob(rows, len(rows) > 1 if many is None else many)


def sizes(model: Any) -> list[int]:
    return [len(next(iter(call.values()))) for call in model.calls]


def outcomes(results: Sequence[Any]) -> list[Any]:
    return [str(result) if isinstance(result, JobError) else result for result in results]


def test_each_job_gets_its_own_answers_in_order(doubler) -> None:
    jobs = [job(1), job(2, 3, 4), job(5, many=True), job(6)]
    assert run_batch(doubler, jobs, BATCHING) == [2, [4, 6, 8], [10], 12]
    assert sizes(doubler) == [8]


def test_calls_are_padded_to_an_allowed_size_with_a_row_of_their_own(doubler) -> None:
    assert run_batch(doubler, [job(n) for n in range(1, 6)], BATCHING) == [2, 4, 6, 8, 10]
    assert [call["x"].tolist() for call in doubler.calls] == [[1, 2, 3, 4, 5, 1, 1, 1]]


def test_a_job_of_more_rows_than_a_call_spans_calls_and_is_answered_once(doubler) -> None:
    jobs = [job(-1), job(*range(20)), job(-2)]
    assert run_batch(doubler, jobs, BATCHING) == [-2, [2 * n for n in range(20)], -4]
    assert sizes(doubler) == [8, 8, 8]


def test_limits_in_rows_and_bytes_are_never_exceeded(numpy_model, signature_of) -> None:
    signature = signature_of(x=("tensor", "float64", (None,)))
    random = np.random.default_rng(5)
    for _ in range(60):
        model = numpy_model(signature, lambda x: x.sum(axis=1))
        most = int(random.integers(1, 9))
        allowed = tuple(sorted({most, *random.integers(1, 9, 3).tolist()}))
        limits = BatchingSettings(
            max_batch_rows=most, allowed_batch_sizes=allowed, max_decoded_bytes=int(random.integers(40, 400))
        )
        widths = random.integers(1, 6, random.integers(1, 30))
        jobs = [job(*random.random((random.integers(1, 4), width)), dtype="float64") for width in widths]
        expected = [[float(row["x"].sum()) for row in each.rows] for each in jobs]
        results = run_batch(model, jobs, limits)
        assert [result if each.is_many else [result] for each, result in zip(jobs, results, strict=True)] == [
            pytest.approx(rows) for rows in expected
        ]
        for call in model.calls:
            assert len(call["x"]) <= most
            assert call["x"].nbytes <= limits.max_decoded_bytes
            fits = [size for size in allowed if size <= most and size * call["x"][0].nbytes <= limits.max_decoded_bytes]
            assert len(call["x"]) in allowed or not fits


def test_rows_of_equal_shape_share_a_call_and_others_do_not(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None, 2))), lambda x: x.sum(axis=(1, 2)))
    jobs = [job(np.full((length, 2), length)) for length in (1, 3, 1, 3, 3, 2)]
    assert run_batch(model, jobs, BATCHING) == [2, 18, 2, 18, 18, 8]
    assert sorted(call["x"].shape for call in model.calls) == [(1, 2, 2), (2, 1, 2), (4, 3, 2)]


def test_where_the_signature_pads_rows_are_filled_with_zeros_up_to_a_power_of_two(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None,), True)), lambda x: x.sum(axis=1))
    jobs = [job([1] * length) for length in (5, 8, 7, 3)]
    assert run_batch(model, jobs, BATCHING) == [5, 8, 7, 3]
    assert sorted(call["x"].shape for call in model.calls) == [(1, 4), (4, 8)]
    (wide,) = [call["x"] for call in model.calls if call["x"].shape == (4, 8)]
    assert wide[0].tolist() == [1] * 5 + [0] * 3


def test_rows_are_not_padded_where_the_answer_grows_with_them(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of((None,), x=("tensor", "float32", (None,), True)), lambda x: x + 1)
    assert run_batch(model, [job([1, 2, 3])], BATCHING) == [[2, 3, 4]]


def test_rows_whose_padding_would_break_the_limit_in_bytes_keep_their_shape(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None,), True)), lambda x: x.sum(axis=1))
    limits = BatchingSettings(max_decoded_bytes=6 * 4)
    assert run_batch(model, [job([1] * 5)], limits) == [5]
    assert model.calls[0]["x"].shape == (1, 5)


def test_a_row_that_is_too_long_only_when_padded_is_computed_as_it_came(numpy_model, signature_of) -> None:
    def at_most_six(x: np.ndarray) -> np.ndarray:
        if x.shape[1] > 6:
            raise ValueError("too long")
        return x.sum(axis=1)

    model = numpy_model(signature_of(x=("tensor", "float32", (None,), True)), at_most_six)
    results = outcomes(run_batch(model, [job([1] * length) for length in (5, 6, 7, 3)], BATCHING))
    assert results == [5, 6, "E1101: the model failed: ValueError: too long", 3]


def test_several_inputs_and_outputs_keep_their_names_and_rows(numpy_model) -> None:
    tensors = [TensorSpec(name, TensorKind.TENSOR, "float32", ()) for name in ("a", "b", "sum", "difference")]
    model = numpy_model(Signature(tuple(tensors[:2]), tuple(tensors[2:])), lambda a, b: (a + b, a - b))
    rows = [{"a": np.float32(n), "b": np.float32(10 * n)} for n in range(3)]
    results = run_batch(model, [DecodedJob(rows[:1]), DecodedJob(rows[1:], True)], BATCHING)
    assert results == [{"sum": 0, "difference": 0}, [{"sum": 11, "difference": -9}, {"sum": 22, "difference": -18}]]


def test_texts_reach_the_model_as_strings(numpy_model) -> None:
    signature = Signature(
        (TensorSpec("x", TensorKind.TEXT, "string", ()), TensorSpec("y", TensorKind.TEXT, "string", (1,))),
        (TensorSpec("out", TensorKind.TEXT, "string", ()),),
    )
    model = numpy_model(signature, lambda x, y: np.array([text.encode() for text in x + y[:, 0]], object))
    rows = [{"x": np.array(text, object), "y": np.array(["!"], object)} for text in ("ä", "b", "c")]
    assert run_batch(model, [DecodedJob(rows, True)], BATCHING) == [["ä!", "b!", "c!"]]


def refusing(*bad: float) -> Callable[[np.ndarray], np.ndarray]:
    """A model that raises while one of these numbers is among its rows."""

    def function(x: np.ndarray) -> np.ndarray:
        found = set(x.tolist()) & set(bad)
        if found:
            raise ValueError(f"cannot take {sorted(map(float, found))}\nwith details for the log")
        return x * 2

    return function


def test_of_a_batch_that_raises_only_the_culprit_fails(doubler) -> None:
    doubler.function = refusing(5)
    results = outcomes(run_batch(doubler, [job(n) for n in range(8)], BATCHING))
    assert results.pop(5) == "E1101: the model failed: ValueError: cannot take [5.0]"
    assert results == [0, 2, 4, 6, 8, 12, 14]
    assert len(doubler.calls) <= 2 * 3 + 1


def test_a_bad_row_fails_its_whole_job_and_is_named(doubler) -> None:
    doubler.function = refusing(5, 6)
    results = outcomes(run_batch(doubler, [job(1, 2), job(3, 4, 5, 6, 7), job(8)], BATCHING))
    assert results == [[2, 4], "E1101: row 3 of 5: the model failed: ValueError: cannot take [5.0]", 16]


def test_running_out_of_memory_halves_the_call(doubler) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        if len(x) > 2:
            raise MemoryError
        return x * 2

    doubler.function = function
    assert run_batch(doubler, [job(n) for n in range(8)], BATCHING) == [2 * n for n in range(8)]
    doubler.function = lambda x: (_ for _ in ()).throw(MemoryError())
    assert outcomes(run_batch(doubler, [job(1), job(2)], BATCHING)) == ["E1101: the model failed: MemoryError"] * 2


def test_what_is_no_exception_of_the_model_passes_through(doubler) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    doubler.function = function
    with pytest.raises(KeyboardInterrupt):
        run_batch(doubler, [job(1), job(2)], BATCHING)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_fail_the_job_of_their_row(bad: float, doubler) -> None:
    doubler.function = lambda x: np.where(x == 4, bad, x * 2)
    results = outcomes(run_batch(doubler, [job(1), job(3, 4), job(5, 6), job(4)], BATCHING))
    assert results == [
        2,
        "E1102: row 2 of 2: the model answered with numbers that are not finite",
        [10, 12],
        "E1102: the model answered with numbers that are not finite",
    ]
    assert len(doubler.calls) == 1


def test_a_model_that_answers_another_number_of_rows_fails_its_jobs(doubler) -> None:
    doubler.function = lambda x: x[:-1]
    results = run_batch(doubler, [job(1), job(2)], BATCHING)
    assert all(isinstance(result, PredictionError) for result in results)


def test_rows_of_jobs_that_are_no_longer_wanted_are_not_computed(doubler) -> None:
    jobs = [job(1), job(2, 3), job(4)]
    assert run_batch(doubler, jobs, BATCHING, lambda: {0, 2}) == [2, DROPPED, 8]
    assert [call["x"].tolist() for call in doubler.calls] == [[1, 4]]
    assert run_batch(doubler, jobs, BATCHING, set) == [DROPPED] * 3
    assert len(doubler.calls) == 1


def test_who_is_wanted_is_asked_right_before_every_call(doubler) -> None:
    asked: list[int] = []

    def keep() -> set[int]:
        asked.append(len(doubler.calls))
        return {0, 1} if len(asked) == 1 else {0}

    assert run_batch(doubler, [job(0), job(*range(20))], BATCHING, keep) == [0, DROPPED]
    assert asked == [0, 1]
    assert sizes(doubler) == [8]


def test_halves_of_a_failed_call_ask_again(doubler) -> None:
    doubler.function = refusing(1)
    answers = iter([{0, 1, 2, 3}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}])
    results = outcomes(run_batch(doubler, [job(n) for n in range(4)], BATCHING, lambda: next(answers)))
    assert results == [0, "E1101: the model failed: ValueError: cannot take [1.0]", 4, DROPPED]


def test_rows_that_were_not_decoded_ahead_are_decoded_for_their_call_and_may_fail_then(doubler) -> None:
    def late(value: float) -> Callable[[], dict[str, np.ndarray]]:
        def row() -> dict[str, np.ndarray]:
            if value < 0:
                raise InputError("the image is truncated", "E1003")
            return {"x": np.array(value, np.float32)}

        return row

    jobs = [DecodedJob([late(1)]), DecodedJob([late(2), late(-1), late(3)], True), DecodedJob([late(4)])]
    assert outcomes(run_batch(doubler, jobs, BATCHING)) == [2, "E1003: the image is truncated", 8]


def test_rows_decoded_late_are_held_only_up_to_the_limit_in_bytes(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None,))), lambda x: x.sum(axis=1))
    alive = most = 0

    class Counted(dict[str, np.ndarray]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def late(width: int) -> Callable[[], Counted]:
        def row() -> Counted:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return Counted(x=np.ones(width, np.float32))

        return row

    limits = BatchingSettings(max_decoded_bytes=4 * 100)
    # All widths differ, so that no group ever fills a call by itself.
    results = run_batch(model, [DecodedJob([late(width) for width in range(20, 60)], True)], limits)
    assert results == [list(range(20, 60))]
    assert most <= 6


def test_two_jobs_of_one_row_never_swap_their_answers_however_calls_are_cut(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "int32", (None,))), lambda x: x.sum(axis=1).astype("float32"))
    random = np.random.default_rng(6)
    jobs = [job(np.full(random.integers(1, 5), n), dtype="int32") for n in range(200)]
    assert run_batch(model, jobs, BATCHING) == [float(each.rows[0]["x"].sum()) for each in jobs]
