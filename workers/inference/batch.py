"""Runs the rows of many jobs through one model in as few calls as the limits allow, and gives each job its answer.

Rows of equal shape share a call; where the signature says ``pads``, rows are filled with zeros up to a power of two
and so share it too. A call is padded to an allowed size by repeating a row of its own, whose second answer is thrown
away. A call that raises is halved until only the row that raises is left, so that only its job fails.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import JobError, PredictionError
from shared.settings import BatchingSettings
from workers.inference.answers import finite_rows, format_rows
from workers.inference.decoding import DecodedJob, Row, array_dtype, row_bytes, row_prefix
from workers.inference.model_cache import LoadedModel

Shapes = tuple[tuple[int, ...], ...]


class Dropped(Enum):
    """The one outcome that is neither an answer nor an error."""

    DROPPED = "dropped"


DROPPED = Dropped.DROPPED
"""Outcome of a job that ``keep`` left out."""


class _Place(NamedTuple):
    job: int
    row: int
    arrays: Row


def run_batch(
    model: LoadedModel,
    jobs: Sequence[DecodedJob],
    batching: BatchingSettings,
    keep: Callable[[], Collection[int]] | None = None,
    calls: list[int] | None = None,
    grown: Callable[[int, Sequence[Any]], None] | None = None,
) -> list[Any]:
    """Computes the jobs of one batch.

    Args:
        model: What computes.
        jobs: Decoded jobs; one may have more rows than a call.
        batching: The limits of one call.
        keep: Asked right before each call, and before each row that is decoded late, for the positions in ``jobs``
            that are still wanted; rows of the others are not computed.
        calls: Filled with the rows of each call.
        grown: Told after a call which job of many rows has more of its first rows answered, by its position, and these.

    Returns:
        For each job, in order, its output as JSON value, a ``JobError``, or ``DROPPED``.
    """
    batch = _Batch(model, jobs, batching, keep, calls if calls is not None else [], grown)
    batch.run()
    return batch.outcomes()


@dataclass(slots=True)
class _Batch:
    model: LoadedModel
    jobs: Sequence[DecodedJob]
    batching: BatchingSettings
    keep: Callable[[], Collection[int]] | None
    calls: list[int]
    grown: Callable[[int, Sequence[Any]], None] | None = None
    done: dict[int, int] = field(default_factory=dict)
    ended: dict[int, JobError | Dropped] = field(default_factory=dict)
    answers: list[list[Any]] = field(init=False)
    fixed: Shapes | None = field(init=False)
    pads: bool = field(init=False)
    limits: dict[Shapes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signature = self.model.signature
        self.answers = [[None] * len(job.rows) for job in self.jobs]
        is_fixed = all(spec.is_fixed for spec in signature.inputs)
        self.fixed = tuple(tuple(size or 0 for size in spec.shape) for spec in signature.inputs) if is_fixed else None
        # An answer that grows with its input would come back padded as well.
        self.pads = any(spec.pads for spec in signature.inputs) and all(spec.is_fixed for spec in signature.outputs)

    def run(self) -> None:
        groups: dict[Shapes, list[_Place]] = {}
        held = 0
        for position, job in enumerate(self.jobs):
            for index, row in enumerate(job.rows):
                if position in self.ended:
                    break
                if callable(row):
                    if self.keep is not None and position not in self.keep():
                        self.ended[position] = DROPPED
                        break
                    try:
                        row = row()
                    except JobError as error:
                        self.ended[position] = error
                        break
                    held += sum(array.nbytes for array in row.values())
                shapes = self.fixed or self.shapes_of(row)
                group = groups.setdefault(shapes, [])
                group.append(_Place(position, index, row))
                if len(group) >= self.limit(shapes):
                    self.call_and_tell(shapes, groups.pop(shapes))
                if held >= self.batching.max_decoded_bytes:
                    self.call_all(groups)
                    held = 0
        self.call_all(groups)

    def outcomes(self) -> list[Any]:
        return [
            self.ended[position] if position in self.ended else rows if job.is_many else rows[0]
            for position, (job, rows) in enumerate(zip(self.jobs, self.answers, strict=True))
        ]

    def shapes_of(self, row: Row) -> Shapes:
        """The shapes that a row has in a call, padded where that may be and still fits."""
        bare = self.bare_shapes(row)
        if not self.pads:
            return bare
        padded = tuple(
            tuple(
                _bucket(size) if spec.pads and axis is None else size
                for axis, size in zip(spec.shape, shape, strict=True)
            )
            for spec, shape in zip(self.model.signature.inputs, bare, strict=True)
        )
        return padded if row_bytes(self.model.signature, padded) <= self.batching.max_decoded_bytes else bare

    def bare_shapes(self, row: Row) -> Shapes:
        """The shapes of a row as it came."""
        return tuple(row[spec.name].shape for spec in self.model.signature.inputs)

    def limit(self, shapes: Shapes) -> int:
        """Most rows of these shapes in one call."""
        if shapes not in self.limits:
            each = max(1, row_bytes(self.model.signature, shapes))
            most = max(1, min(self.batching.max_batch_rows, self.batching.max_decoded_bytes // each))
            # Rows too large for the least allowed size go as they are, since padding would break the limit in bytes.
            self.limits[shapes] = max(
                (size for size in self.batching.allowed_batch_sizes if size <= most), default=most
            )
        return self.limits[shapes]

    def call_all(self, groups: dict[Shapes, list[_Place]]) -> None:
        while groups:
            self.call_and_tell(*groups.popitem())

    def call_and_tell(self, shapes: Shapes, places: Sequence[_Place]) -> None:
        self.call(shapes, places)
        if self.grown is None:
            return
        for position in {place.job for place in places}.difference(self.ended):
            if not self.jobs[position].is_many:
                continue
            answers, before = self.answers[position], self.done.get(position, 0)
            count = before
            while count < len(answers) and answers[count] is not None:
                count += 1
            if count > before:
                self.done[position] = count
                self.grown(position, answers[:count])

    def call(self, shapes: Shapes, places: Sequence[_Place]) -> None:
        open_jobs = {place.job for place in places}.difference(self.ended)
        if self.keep is not None and open_jobs:
            for job in open_jobs.difference(self.keep()):
                self.ended[job] = DROPPED
        places = [place for place in places if place.job not in self.ended]
        if not places:
            return
        try:
            outputs = self.compute(shapes, places)
        except Exception as error:
            bare = self.bare_shapes(places[0].arrays)
            if len(places) > 1:
                self.call(shapes, places[: len(places) // 2])
                self.call(shapes, places[len(places) // 2 :])
            elif shapes != bare:
                # Padding may have made the row longer than the model takes.
                self.call(bare, places)
            else:
                self.fail(places[0], f"the model failed: {_first_line(error)}", "E1101")
            return
        self.distribute(places, outputs)

    def compute(self, shapes: Shapes, places: Sequence[_Place]) -> dict[str, NDArray[Any]]:
        count = len(places)
        size = next((size for size in self.batching.allowed_batch_sizes if count <= size <= self.limit(shapes)), count)
        inputs = {}
        for spec, shape in zip(self.model.signature.inputs, shapes, strict=True):
            rows = [place.arrays[spec.name] for place in places]
            inputs[spec.name] = _stacked(rows, size, shape, array_dtype(spec))
        self.calls.append(count)
        outputs = self.model.run(inputs)
        for name, values in outputs.items():
            if values.ndim == 0 or len(values) != size:
                raise PredictionError(f"the output {name} has not one item for each row")
        return {name: values[:count] for name, values in outputs.items()}

    def distribute(self, places: Sequence[_Place], outputs: Mapping[str, NDArray[Any]]) -> None:
        finite = finite_rows(outputs)
        if finite is not None:
            for place in [place for place, good in zip(places, finite, strict=True) if not good]:
                self.fail(place, "the model answered with numbers that are not finite", "E1102")
            places = [place for place, good in zip(places, finite, strict=True) if good]
            outputs = {name: values[finite] for name, values in outputs.items()}
        options = [self.jobs[place.job] for place in places]
        answers = format_rows(self.model.signature, self.model.labels, outputs, options)
        for place, answer in zip(places, answers, strict=True):
            self.answers[place.job][place.row] = answer

    def fail(self, place: _Place, message: str, code: str) -> None:
        prefix = row_prefix(place.row, len(self.jobs[place.job].rows))
        self.ended.setdefault(place.job, PredictionError(prefix + message, code))


def _bucket(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _stacked(rows: Sequence[NDArray[Any]], size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    is_padded = any(row.shape != shape for row in rows)
    stacked: NDArray[Any] = np.zeros((size, *shape), dtype) if is_padded else np.empty((size, *shape), dtype)
    for index, row in enumerate(rows):
        if is_padded:
            stacked[index][tuple(slice(size) for size in row.shape)] = row
        else:
            stacked[index] = row[()]  # a text of no axes is the string itself, not an array of one
    stacked[len(rows) :] = stacked[0]
    return stacked


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
