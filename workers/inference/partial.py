"""Publishes the rows of a large job as its calls of the model end, for who follows it."""

from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from shared.errors import ServiceError
from shared.jobs.claim import TakenJob
from shared.jobs.queue import JobQueue

log = structlog.get_logger(__name__)

MAX_BYTES = 1_048_576
"""Most bytes of partial output of one job, as JSON; the rest comes with the end."""

_LOST, _UNWANTED = -1, -2


class PartialOutputs:
    """The partial outputs of one batch.

    What cannot be sent is not worth a job: it is sent with the next part, or comes with the end.

    Args:
        queue: Where they go.
        claim: The id of the claim that holds the jobs.
        jobs: The jobs of the batch, in its order.
        rows: Most rows of a job that is answered whole at once, for which nobody has to be told of parts; one where
            each row is to be told as its call ends.
    """

    def __init__(self, queue: JobQueue, claim: str, jobs: Sequence[TakenJob], rows: int) -> None:
        self._queue = queue
        self._claim = claim
        self._jobs = jobs
        self._rows = rows
        self._kept: dict[int, int] = {}
        self._bytes: dict[int, int] = {}

    def grown(self, position: int, answers: Sequence[Any]) -> None:
        """More rows of a job are answered.

        Args:
            position: Which job of the batch.
            answers: Its first rows, as many as are answered without a gap.
        """
        job = self._jobs[position]
        if not self._rows < job.rows > len(answers):
            return
        try:
            kept = self._kept.get(position, _UNWANTED)
            if kept == _UNWANTED:
                kept = self._kept[position] = self._emit(job, 0, [])
            if kept < 0:
                return
            self._kept[position] = self._emit(job, kept, answers[kept:], position)
        except (ServiceError, TypeError) as error:
            log.warning("a partial output could not be sent", job=job.id, error=str(error))

    def _emit(self, job: TakenJob, first: int, items: Sequence[Any], position: int = -1) -> int:
        if not items:
            return self._queue.emit(self._claim, job.id, job.attempt, first, 0, b"")
        body = orjson.dumps(items)
        self._bytes[position] = self._bytes.get(position, 0) + len(body)
        if self._bytes[position] > MAX_BYTES:
            return _LOST
        return self._queue.emit(self._claim, job.id, job.attempt, first, len(items), body)
