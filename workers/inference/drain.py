"""Turns waiting predictions into batches: take, decode, run, settle, until the time slice is over.

While the model runs one batch, the next is taken and decoded in a second thread. A model is loaded before jobs are
taken for it, and only while this process holds no claim; a suspect is taken alone and nothing beside it. A batch is
never waited for: what is there goes.
"""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from shared.errors import InputError, JobError, ModelLoadError, NotFound, PredictionError, StoreAway, version_gone
from shared.jobs.new_job import subject_of
from shared.jobs.queue import JobQueue
from shared.keyspace import SHARDS
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from workers.claims import Claim, Claims, settle_patiently
from workers.inference.batch import DROPPED, run_batch
from workers.inference.choice import Choice
from workers.inference.decoding import DecodedJob, decode
from workers.inference.model_cache import LoadedModel, ModelCache
from workers.inference.partial import PartialOutputs
from workers.inference.payloads import Payloads

log = structlog.get_logger(__name__)

DECODE_SECONDS = 0.5
"""How long a take may decode; what is left then is decoded when its call is made, if it is still wanted."""
FOREIGN_PAUSE_SECONDS = 0.5
"""How long to leave a line alone whose next job this release must not take."""
LOAD_PAUSE_SECONDS = 0.5
"""How long to wait before a version is loaded again that failed to load, but not too often."""
STORE_PAUSE_SECONDS = 1.0
"""How long a worker takes nothing after it handed jobs back whose artifact store does not answer."""
LOOK_SECONDS = 0.01
"""How often a worker looks for work that has nothing to do but what another worker is loading."""


@dataclass(slots=True)
class _Batch:
    """One claim on its way: what was taken, what could be decoded, what failed already."""

    claim: Claim
    model: LoadedModel
    decoded: dict[str, DecodedJob]
    failed: dict[str, JobError]
    decode_ms: float
    is_side: bool
    charged: float
    """The time that its version was charged for it."""


class Drain:
    """Runs the predictions of a pool in this process.

    Args:
        queue: The queue.
        claims: Renews what this process holds.
        cache: The models it holds ready.
        registry: Knows versions and their loads.
        payloads: Reads inputs and puts outputs away.
        settings: The process's settings.
        stopping: Set once the worker shuts down.
    """

    def __init__(
        self,
        queue: JobQueue,
        claims: Claims,
        cache: ModelCache,
        registry: ModelRegistry,
        payloads: Payloads,
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._cache = cache
        self._registry = registry
        self._payloads = payloads
        self._settings = settings
        self._stopping = stopping
        self._choice = Choice(cache, registry, settings.inference)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="take-ahead")
        self._patience = settings.inference.batch_timeout_seconds
        # A backstop for a process that lives but works no more: each call of the largest job has its time, and the
        # batch before it.
        most_calls = math.ceil(settings.inference.max_job_rows / settings.batching.max_batch_rows)
        self._hard_seconds = (most_calls + 2) * self._patience + settings.queue.lease_seconds

    def run(self, pool: str, token: str) -> None:
        """Works until the pool has nothing left, the slice is over or the worker shuts down.

        Args:
            pool: The pool, ``predict.cpu``.
            token: Token of the bell's message; the first take answers it.
        """
        until = time.monotonic() + self._settings.inference.slice_seconds
        while not self._stopping.is_set():
            if not self._make_ready(pool, token, until):
                return
            with self._claims.watched(self._patience):
                batch = self._take(pool, token, alone=True)
            if batch is not None:
                token = ""
            while batch is not None:
                ahead = None
                if not batch.is_side and time.monotonic() < until and not self._stopping.is_set():
                    ahead = self._ahead.submit(self._take, pool, "", alone=False)
                try:
                    self._compute(batch)
                except BaseException:
                    if ahead is not None:
                        self._abandon(ahead)
                    raise
                batch = None
                if ahead is not None and self._stopping.is_set():
                    self._abandon(ahead)  # what is not begun yet would keep the process from ending in time
                elif ahead is not None:
                    with self._claims.watched(self._patience):
                        batch = ahead.result()
            if time.monotonic() >= until:
                return

    def _abandon(self, ahead: Future["_Batch | None"]) -> None:
        """Hands back what was taken ahead, since nobody is going to compute it here."""
        with suppress(Exception):
            batch = ahead.result()
            if batch is not None:
                self._claims.give_back(batch.claim)

    def _make_ready(self, pool: str, token: str, until: float) -> bool:
        """Loads a model where the line that is next needs one; whether there is something to take."""
        lines = self._queue.lines(pool, token)
        while lines and not self._stopping.is_set():
            line = self._choice.of(lines)
            if line is None:
                # Another worker is loading what waits; this one stays free for the rest, whose bell may stand already.
                if time.monotonic() >= until:
                    self._queue.bells.ring(pool, SHARDS[0], token)
                    return False
                self._stopping.wait(LOOK_SECONDS)
                lines = self._queue.lines(pool, token)
                continue
            version = subject_of(line)
            if self._cache.holds(version):
                return True
            began = time.monotonic()
            try:
                with self._registry.turns.taken(version) as is_mine:
                    if is_mine or not self._choice.is_engaged(version):
                        self._load(version)
            except JobError as error:
                log.error("a version could not be loaded", version=version, error=str(error))
                if error.code == "E1202" or self._registry.is_unloadable(version) is not None:
                    count = self._queue.fail_waiting(line.rstrip("!"), error)
                    log.error("jobs failed with their version", version=version, jobs=count)
                else:
                    self._stopping.wait(LOAD_PAUSE_SECONDS)
            else:
                if self._cache.holds(version):
                    self._choice.loaded(time.monotonic() - began)
                    return True
            lines = self._queue.lines(pool, token)
        return False

    def _load(self, version: str) -> None:
        """Makes a version ready.

        Raises:
            ModelLoadError: It cannot be loaded, has failed too often, or no longer exists.
        """
        self._registry.forget()  # what was looked up a moment ago may be from before a deletion or a reset
        try:
            self._registry.version(version)
        except NotFound as error:
            raise version_gone() from error
        reason = self._registry.is_unloadable(version)
        if reason is not None:
            raise ModelLoadError(reason)
        with self._claims.watched(self._settings.inference.load_timeout_seconds):
            self._cache.get(version)

    def _take(self, pool: str, token: str, *, alone: bool) -> _Batch | None:
        """Claims and decodes the next batch of a loaded model; beside another claim (not alone) never a suspect."""
        lines = self._queue.lines(pool, token)
        line = self._choice.of(lines) if lines else None
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
            hard_seconds=self._hard_seconds,
            solo=alone,
            token=token,
        )
        if not taken.jobs:
            if taken.has_more:  # of a later release, whose workers take them
                self._stopping.wait(FOREIGN_PAUSE_SECONDS)
            return None
        claim = self._claims.hold(taken)
        charged = self._choice.begin(subject_of(line))
        try:
            return self._decoded(claim, self._cache.get(subject_of(line)), line.endswith("!"), charged)
        except BaseException:
            self._claims.give_back(claim)
            raise

    def _decoded(self, claim: Claim, model: LoadedModel, is_side: bool, charged: float) -> _Batch:
        began = time.perf_counter()
        until = time.monotonic() + DECODE_SECONDS
        decoded: dict[str, DecodedJob] = {}
        failed: dict[str, JobError] = {}
        for job in claim.jobs:
            try:
                value = self._payloads.input(job)
                decoded[job.id] = decode(model.signature, value, self._settings, until, self._payloads.file)
            except JobError as error:
                failed[job.id] = error
            except Exception as error:
                log.exception("an input could not be decoded", job=job.id)
                failed[job.id] = InputError(f"the input could not be decoded ({type(error).__name__})")
        return _Batch(claim, model, decoded, failed, (time.perf_counter() - began) * 1000, is_side, charged)

    def _compute(self, batch: _Batch) -> None:
        """Runs a batch and settles each of its jobs that is still ours.

        Those go back to their queue that the artifact store would not serve.
        """
        is_settled, away = False, 0
        try:
            calls: list[int] = []
            began = time.perf_counter()
            answers = self._answers(batch, calls)
            compute_ms = (time.perf_counter() - began) * 1000
            self._choice.end(batch.model.version_id, batch.charged, (batch.decode_ms + compute_ms) / 1000)
            metrics = {
                "predict_time": round(compute_ms / 1000, 6),
                "batch_rows": max(calls, default=0),
            }
            jobs = {job.id: job for job in batch.claim.jobs}
            outcomes = []
            for id_, result in (dict(zip(batch.decoded, answers, strict=True)) | batch.failed).items():
                if result is DROPPED:
                    continue
                try:
                    outcomes.append(self._payloads.outcome(jobs[id_], result, metrics))
                except StoreAway:
                    away += 1
            settle_patiently(
                self._queue,
                batch.claim,
                outcomes,
                batches=calls,
                decode_ms=batch.decode_ms,
                compute_ms=compute_ms,
            )
            is_settled = True
        finally:
            if is_settled and not away:
                self._claims.drop(batch.claim)
            else:
                self._claims.give_back(batch.claim, counts=not is_settled)
        if away:
            log.warning("jobs were handed back: the artifact store does not answer", jobs=away)
            self._stopping.wait(STORE_PAUSE_SECONDS)

    def _answers(self, batch: _Batch, calls: list[int]) -> Sequence[object]:
        claim, ids = batch.claim, list(batch.decoded)
        jobs = {job.id: job for job in claim.jobs}
        batching = self._settings.batching
        whole = 1 if batch.model.signature.iterates else batching.max_batch_rows
        partial = PartialOutputs(self._queue, claim.id, [jobs[id_] for id_ in ids], whole)
        with self._claims.watched(self._patience) as begin:

            def wanted() -> set[int]:
                """Asked right before each call of the model: all but what is canceled, lost or too late."""
                begin()  # the time limit is for one call, not for a job of many
                held, now = claim.held, claim.redis_now_ms
                return {index for index, id_ in enumerate(ids) if id_ in held and jobs[id_].deadline_ms > now}

            try:
                return run_batch(batch.model, list(batch.decoded.values()), batching, wanted, calls, partial.grown)
            except Exception as error:
                log.exception("a batch failed as a whole", version=batch.model.version_id)
                return [PredictionError(f"the model failed ({type(error).__name__})")] * len(ids)
