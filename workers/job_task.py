"""Runs long jobs one at a time: claim, run the engine, settle.

Every kind but predictions goes this way. Engines are plain functions of a ``Run``; what they raise decides how the job
goes on, here and nowhere else:

    returns a dict                  succeeded
    JobError                        failed with that error
    JobCanceled                     nothing: the record was moved by somebody else
    JobReleased                     handed back; another worker goes on from the checkpoint
    Unavailable, TooManyRequests    tried again after a pause, under the same claim; failed when that was in vain
    anything else                   failed with E1000, the traceback in the worker's log
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import structlog
from celery import Task

from shared.errors import JobCanceled, JobError, JobReleased, TooManyRequests, Unavailable
from shared.jobs.claim import Outcome
from shared.jobs.job import Job, JobKind
from shared.jobs.queue import JobQueue
from workers.claims import Claim, settle_patiently
from workers.process import Process
from workers.run import Run

log = structlog.get_logger(__name__)

Engine = Callable[[Run], Mapping[str, Any]]

FOREIGN_PAUSE_SECONDS = 0.5
"""How long to leave a line alone whose next job this release must not take."""
# Redis is away, or its memory is full; a store is away, or full.
_AWAY = (TooManyRequests, Unavailable)

PAUSES = (1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds between the tries of a job whose store, or Redis, does not answer; after the last it fails."""


class JobRun:
    """One attempt at one job, as its engine sees it (``workers.run.Run``).

    Args:
        job: The job.
        claim: The claim that holds it.
        queue: Where progress goes.
        stopping: Set once the worker shuts down.
    """

    def __init__(self, job: Job, claim: Claim, queue: JobQueue, stopping: threading.Event) -> None:
        self.job = job
        self._claim = claim
        self._queue = queue
        self._stopping = stopping
        self._lines: list[str] = []
        self._flushed = time.monotonic()

    def log(self, line: str) -> None:
        """Appends a line to the job's logs."""
        self._lines.append(line)
        if time.monotonic() - self._flushed > 1.0:
            self._send("", False)

    def report(self, **facts: Any) -> None:
        """Publishes progress."""
        self._send(json.dumps(facts, allow_nan=False), False)

    def checkpointed(self) -> None:
        """Says that a later attempt can go on from here."""
        self._send("", True)

    def check(self) -> None:
        """Raises where the job is no longer ours or the worker shuts down."""
        if self.job.id not in self._claim.held:
            raise JobCanceled
        if self._stopping.is_set():
            raise JobReleased
        if self._lines and time.monotonic() - self._flushed > 1.0:
            self._send("", False)

    def flush(self) -> None:
        """Sends the lines that are still here."""
        if self._lines:
            self._send("", False)

    def _send(self, facts: str, checkpoint: bool) -> None:
        text = "".join(line + "\n" for line in self._lines)
        self._flushed = time.monotonic()
        job, claim = self.job, self._claim.id
        try:
            ours = self._queue.progress(claim, job.id, job.attempt, facts=facts, log=text, checkpoint=checkpoint)
        except Unavailable as error:
            # Progress is not worth a job: the lines wait for the next time.
            log.warning("progress could not be sent", job=job.id, error=str(error))
            return
        self._lines.clear()
        if not ours:
            raise JobCanceled


class JobTask(Task):  # type: ignore[misc]
    """Base of the Celery tasks that drain a pool of long jobs."""

    abstract = True

    def drain(self, process: Process, pool: str, token: str, engines: Mapping[JobKind, Engine]) -> None:
        """Takes one job of the pool, if there is one, and runs it to its end.

        Args:
            process: The process's connections.
            pool: The pool, ``train.cpu``.
            token: Token of the bell's message.
            engines: The engine for each kind.
        """
        queue = process.queue
        for line in queue.lines(pool, token):
            if process.stopping.is_set():
                return
            # The claim ends with the job itself: its own deadline is the limit, not the claim's.
            hard = process.settings.jobs.other_deadline_seconds
            taken = queue.take(line, pool, max_rows=1, max_bytes=1, hard_seconds=hard, solo=True, token=token)
            token = ""
            if taken.jobs:
                break
            if taken.has_more:  # of a later release, whose workers take them
                process.stopping.wait(FOREIGN_PAUSE_SECONDS)
        else:
            return
        claim = process.claims.hold(taken)
        try:
            job = process.jobs.get(taken.jobs[0].id)
            if job is not None and job.attempt == taken.jobs[0].attempt:
                with structlog.contextvars.bound_contextvars(job=job.id, kind=str(job.kind)):
                    run_claimed(process, claim, job, engines)
        except BaseException:
            process.claims.give_back(claim)
            raise
        process.claims.drop(claim)


def run_claimed(process: Process, claim: Claim, job: Job, engines: Mapping[JobKind, Engine]) -> None:
    """Runs one claimed job and ends it, or hands it back."""
    run = JobRun(job, claim, process.queue, process.stopping)
    began = time.monotonic()
    body: bytes | None = None
    error: JobError | None = None
    try:
        output = _patiently(run, engines[job.kind])
        body = orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY)
        run.flush()
    except JobCanceled:
        log.info("the job is no longer ours")
        return
    except JobReleased:
        log.info("handing the job back")
        process.queue.release(claim.id)
        return
    except JobError as problem:
        error = problem
    except MemoryError:
        # Caught here: Celery would raise it again and never free the slot.
        error = JobError("The worker ran out of memory.")
    except Exception as problem:
        log.exception("the job failed unexpectedly")
        error = JobError(f"Unexpected {type(problem).__name__}; the worker's log has the details.")
    metrics = {"predict_time": round(time.monotonic() - began, 6)}
    settle_patiently(process.queue, claim, [Outcome(job.id, job.attempt, body, error, metrics)])


def _patiently(run: Run, engine: Engine) -> Mapping[str, Any]:
    """Runs an engine, again after a pause where a store is away; engines go on from what they kept.

    Raises:
        JobError: The job's own fault, or the store stayed away.
    """
    for pause in PAUSES:
        try:
            return engine(run)
        except _AWAY as problem:
            log.warning("a store does not answer; trying again", seconds=pause, error=str(problem))
            until = time.monotonic() + pause
            while time.monotonic() < until:
                run.check()
                time.sleep(min(0.1, pause))
    try:
        return engine(run)
    except _AWAY as problem:
        raise JobError(problem.detail) from problem
