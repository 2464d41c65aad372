"""Reads what jobs bring and puts away what they answer, in the artifact store where it is too large for Redis.

A store that is away for a moment fails no job: every access is tried again for a few seconds.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
import structlog

from shared.artifacts import REFERENCE, ArtifactStore
from shared.errors import InputError, JobError, PredictionError, Unavailable
from shared.jobs.claim import Outcome, TakenJob
from shared.jobs.outputs import LargeOutputs
from shared.settings import Settings

log = structlog.get_logger(__name__)

STORE_PAUSES = (0.1, 0.5, 2.0)
"""Seconds between the tries to reach the artifact store."""

_Got = TypeVar("_Got")


class Payloads:
    """Inputs and outputs of predictions.

    Args:
        artifacts: Holds inputs that are too large for Redis, and files that inputs name.
        outputs: Takes outputs that are too large for a reply.
        settings: The process's settings.
    """

    def __init__(self, artifacts: ArtifactStore, outputs: LargeOutputs, settings: Settings) -> None:
        self._artifacts = artifacts
        self._outputs = outputs
        self._max_output_bytes = settings.jobs.max_output_bytes
        self._max_file_bytes = max(settings.files.max_upload_bytes, settings.outgoing.fetch_bytes)

    def input(self, job: TakenJob) -> bytes:
        """The input of a job, JSON.

        Raises:
            JobError: It is gone, or the store is away.
        """
        if not job.spill:
            return job.input
        try:
            return _patiently(lambda: self._artifacts.read(job.spill), job.id)
        except FileNotFoundError as error:
            raise InputError("the input is no longer there") from error

    def file(self, reference: str) -> bytes:
        """The bytes that stand behind a text of an input, ``artifact:files/{id}/content``.

        Raises:
            JobError: E1005 they are gone, E1002 they are too many, E1000 the store is away.
        """
        path, limit = reference.removeprefix(REFERENCE), self._max_file_bytes

        def read() -> bytes:
            with self._artifacts.open(path) as file:
                return file.read(limit + 1)

        try:
            data = _patiently(read, path)
        except FileNotFoundError as error:
            raise InputError("a file that the input names is gone: it has expired or been deleted", "E1005") from error
        if len(data) > limit:
            raise InputError(f"a file that the input names has more than the {limit} bytes accepted", "E1002")
        return data

    def outcome(self, job: TakenJob, result: object, metrics: Mapping[str, Any]) -> Outcome:
        """How a job ends that was computed.

        Args:
            job: The job.
            result: Its output as JSON value, or a ``JobError``.
            metrics: What was measured.
        """
        try:
            if isinstance(result, JobError):
                raise result
            return Outcome(job.id, job.attempt, self._written(job, result), metrics=metrics)
        except JobError as error:
            return Outcome(job.id, job.attempt, error=error, metrics=metrics)

    def _written(self, job: TakenJob, result: object) -> bytes:
        try:
            body = orjson.dumps(result)
        except TypeError as error:
            raise PredictionError(f"the answer cannot be written as JSON ({error})", "E1103") from error
        if len(body) > self._max_output_bytes:
            raise PredictionError(
                f"the answer has {len(body)} bytes, more than the {self._max_output_bytes} accepted", "E1103"
            )
        return _patiently(lambda: self._outputs.write(job.id, job.attempt, body), job.id)


def _patiently(access: Callable[[], _Got], what: str) -> _Got:
    for pause in STORE_PAUSES:
        try:
            return access()
        except Unavailable as error:
            log.warning("the artifact store was not reached", about=what, error=str(error))
            time.sleep(pause)
    raise JobError("The artifact store, which holds what is too large for Redis, does not answer.")
