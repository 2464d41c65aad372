"""Turns waiting predictions into batches: take, decode, run, settle, until the time slice is over.

While the model runs one batch, the next is taken and decoded in a second thread. A model is loaded before jobs are
taken for it, and only while this process holds no claim; a suspect is taken alone and nothing beside it. A batch is
never waited for: what is there goes.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import structlog

from shared.artifacts import ArtifactStore
from shared.errors import InputError, JobError, ModelLoadError, NotFound, PredictionError
from shared.jobs.claim import Outcome, TakenJob
from shared.jobs.queue import JobQueue, subject_of
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from workers.claims import Claim, Claims, settle_patiently
from workers.inference.batch import DROPPED, run_batch
from workers.inference.decoding import DecodedJob, decode
from workers.inference.model_cache import LoadedModel, ModelCache

log = structlog.get_logger(__name__)

SLICES_PER_LOAD = 5
"""How many times its own load time a loaded model is kept busy before another one may be loaded in its place."""


@dataclass(slots=True)
class _Batch:
    """One claim on its way: what was taken, what could be decoded, what failed already."""

    claim: Claim
    model: LoadedModel
    decoded: dict[str, DecodedJob]
    failed: dict[str, JobError]
    decode_ms: float
    is_side: bool


class Drain:
    """Runs the predictions of a pool in this process.

    Args:
        queue: The queue.
        claims: Renews what this process holds.
        cache: The models it holds ready.
        registry: Knows versions and their loads.
        artifacts: Holds inputs that are too large for Redis.
        settings: The process's settings.
        stopping: Set once the worker shuts down.
    """

    def __init__(
        self,
        queue: JobQueue,
        claims: Claims,
        cache: ModelCache,
        registry: ModelRegistry,
        artifacts: ArtifactStore,
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._cache = cache
        self._registry = registry
        self._artifacts = artifacts
        self._settings = settings
        self._stopping = stopping
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="take-ahead")
        self._stay_until = 0.0

    def run(self, pool: str, token: str) -> None:
        """Works until the pool has nothing left, the slice is over or the worker shuts down.

        Args:
            pool: The pool, ``predict.cpu``.
            token: Token of the bell's message; the first take answers it.
        """
        until = time.monotonic() + self._settings.inference.slice_seconds
        while not self._stopping.is_set():
            if not self._make_ready(pool, token):
                return
            batch = self._take(pool, token, alone=True)
            token = ""
            while batch is not None:
                ahead = None
                if not batch.is_side and time.monotonic() < until and not self._stopping.is_set():
                    ahead = self._ahead.submit(self._take, pool, "", alone=False)
                try:
                    self._compute(batch)
                finally:
                    batch = ahead.result() if ahead is not None else None
            if time.monotonic() >= until:
                return

    def _make_ready(self, pool: str, token: str) -> bool:
        """Loads a model where the line that is next needs one; whether there is something to take."""
        lines = self._queue.lines(pool, token)
        while lines and not self._stopping.is_set():
            line = self._choose(lines)
            version = subject_of(line)
            if self._cache.holds(version):
                return True
            began = time.monotonic()
            try:
                self._load(version)
            except JobError as error:
                count = self._queue.fail_waiting(line.rstrip("!"), error)
                log.error("jobs failed with their model", version=version, jobs=count, error=str(error))
                lines = self._queue.lines(pool, token)
            else:
                now = time.monotonic()
                self._stay_until = now + max(self._settings.inference.slice_seconds, SLICES_PER_LOAD * (now - began))
                return True
        return False

    def _choose(self, lines: Sequence[str]) -> str:
        """The line to serve next: in turn, but no load before what is loaded has had its time."""
        if time.monotonic() < self._stay_until:
            for line in lines:
                if self._cache.holds(subject_of(line)):
                    return line
        return lines[0]

    def _load(self, version: str) -> None:
        """Makes a version ready.

        Raises:
            ModelLoadError: It cannot be loaded, has failed too often, or no longer exists.
        """
        self._registry.forget()  # what was looked up a moment ago may be from before a deletion or a reset
        try:
            self._registry.version(version)
        except NotFound as error:
            raise ModelLoadError("the version was deleted", "E1202") from error
        reason = self._registry.is_unloadable(version)
        if reason is not None:
            raise ModelLoadError(reason)
        with self._claims.watched(self._settings.inference.load_timeout_seconds):
            self._cache.get(version)

    def _take(self, pool: str, token: str, *, alone: bool) -> _Batch | None:
        """Claims and decodes the next batch of a loaded model; beside another claim (not alone) never a suspect."""
        lines = self._queue.lines(pool, token)
        line = self._choose(lines) if lines else None
        if line is not None and not alone and (line.endswith("!") or not self._cache.holds(subject_of(line))):
            # The next in turn needs this process for itself: let the batch under way end first.
            return None
        if line is None or not self._cache.holds(subject_of(line)):
            return None
        batching = self._settings.batching
        taken = self._queue.take(
            line,
            pool,
            max_rows=batching.max_batch_rows,
            max_bytes=batching.max_batch_bytes,
            # Beside another batch this one waits for that first.
            hard_seconds=2 * self._settings.inference.batch_timeout_seconds + self._settings.queue.lease_seconds,
            solo=alone,
            token=token,
        )
        if not taken.jobs:
            return None
        claim = self._claims.hold(taken)
        model = self._cache.get(subject_of(line))
        began = time.perf_counter()
        decoded: dict[str, DecodedJob] = {}
        failed: dict[str, JobError] = {}
        for job in taken.jobs:
            try:
                decoded[job.id] = decode(model.signature, self._input(job), self._settings)
            except JobError as error:
                failed[job.id] = error
            except Exception as error:
                log.exception("an input could not be decoded", job=job.id)
                failed[job.id] = InputError(f"the input could not be decoded ({type(error).__name__})")
        decode_ms = (time.perf_counter() - began) * 1000
        return _Batch(claim, model, decoded, failed, decode_ms, line.endswith("!"))

    def _input(self, job: TakenJob) -> bytes:
        if not job.spill:
            return job.input
        try:
            return self._artifacts.read(job.spill)
        except FileNotFoundError as error:
            raise InputError("the input is no longer there") from error

    def _compute(self, batch: _Batch) -> None:
        """Runs a batch and settles each of its jobs that is still ours."""
        claim, jobs = batch.claim, {job.id: job for job in batch.claim.jobs}
        ids = list(batch.decoded)

        def wanted() -> set[int]:
            """Asked right before each call of the model: all but what is canceled, lost or too late."""
            held, now = claim.held, claim.redis_now_ms
            return {index for index, id_ in enumerate(ids) if id_ in held and jobs[id_].deadline_ms > now}

        answers: Sequence[object]

        began = time.perf_counter()
        try:
            with self._claims.watched(self._settings.inference.batch_timeout_seconds):
                answers = run_batch(batch.model, list(batch.decoded.values()), self._settings.batching, wanted)
        except Exception as error:
            log.exception("a batch failed as a whole", version=batch.model.version_id)
            answers = [PredictionError(f"the model failed ({type(error).__name__})")] * len(ids)
        compute_ms = (time.perf_counter() - began) * 1000
        rows = sum(len(job.rows) for job in batch.decoded.values())
        metrics = {"predict_time": round(compute_ms / 1000, 6), "batch_rows": rows}
        results = dict(zip(ids, answers, strict=True)) | batch.failed
        outcomes = []
        for id_, result in results.items():
            if isinstance(result, JobError):
                outcomes.append(Outcome(id_, jobs[id_].attempt, error=result, metrics=metrics))
            elif result is not DROPPED:
                body = orjson.dumps(result)
                outcomes.append(Outcome(id_, jobs[id_].attempt, output=body, metrics=metrics))
        settle_patiently(
            self._queue, claim, outcomes, batch_rows=rows, decode_ms=batch.decode_ms, compute_ms=compute_ms
        )
        self._claims.drop(claim)
