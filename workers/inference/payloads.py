"""Reads what jobs bring and puts away what they answer, in the artifact store where it is too large for Redis.

A store that is away fails no job: an access is tried again for a few seconds, then the job is to be handed back.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
import structlog

from shared.artifacts import REFERENCE, ArtifactStore
from shared.errors import InputError, JobError, PredictionError, StoreAway, Unavailable
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
        self._is_away = False

    def input(self, job: TakenJob) -> bytes:
        """The input of a job, JSON.

        Raises:
            InputError: It is gone.
            StoreAway: The store does not answer.
        """
        if not job.spill:
            return job.input
        try:
            return self._patiently(lambda: self._artifacts.read(job.spill), job.id)
        except FileNotFoundError as error:
            raise InputError("the input is no longer there") from error

    def file(self, reference: str) -> bytes:
        """The bytes that stand behind a text of an input, ``artifact:files/{id}/content``.

        Raises:
            InputError: E1005 they are gone, E1002 they are too many.
            StoreAway: The store does not answer.
        """
        path, limit = reference.removeprefix(REFERENCE), self._max_file_bytes

        def read() -> bytes:
            with self._artifacts.open(path) as file:
                return file.read(limit + 1)

        try:
            data = self._patiently(read, path)
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

        Raises:
            StoreAway: The store did not take the output, or did not give the input.
        """
        try:
            if isinstance(result, JobError):
                raise result
            return Outcome(job.id, job.attempt, self._written(job, result), metrics=metrics)
        except StoreAway:
            raise
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
        return self._patiently(lambda: self._outputs.write(job.id, job.attempt, body), job.id)

    def _patiently(self, access: Callable[[], _Got], what: str) -> _Got:
        # Where one job waited in vain, the next do not wait as long each.
        for pause in (0.0,) if self._is_away else (*STORE_PAUSES, 0.0):
            try:
                got = access()
            except Unavailable as error:
                log.warning("the artifact store was not reached", about=what, error=str(error))
                time.sleep(pause)
            else:
                self._is_away = False
                return got
        self._is_away = True
        raise StoreAway("The artifact store, which holds what is too large for Redis, does not answer.")
