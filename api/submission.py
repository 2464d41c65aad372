"""The one entrance: every job of every kind is made here, whatever surface its request came by.

The answer is a job that has ended, or one that is ``starting`` without output, whatever its record says by then:
stock clients take any other status for the end and output seen early for output seen.
"""

import hashlib
import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

import orjson

from api.headers import JobHeaders
from api.waiting import Seat, Waiting
from shared.connections import Redis
from shared.errors import InvalidInput, NotFound, ServiceError
from shared.jobs.job import Job, JobKind, JobStatus
from shared.jobs.queue import JobQueue, NewJob
from shared.jobs.store import JobStore
from shared.recent_bodies import RecentBodies
from shared.settings import Settings

_JOB_ID = re.compile(r"[0-9a-z]{26}")


class Submission:
    """Makes jobs and waits for them where the client asks.

    Args:
        settings: The process's settings.
        redis: The server.
        queue: Where jobs go.
        jobs: Where they are read.
        waiting: Where requests wait.
    """

    def __init__(self, settings: Settings, redis: Redis, queue: JobQueue, jobs: JobStore, waiting: Waiting) -> None:
        self._settings = settings
        self._queue = queue
        self._jobs = jobs
        self._waiting = waiting
        self._recent = RecentBodies(redis, settings)

    def create(self, new: NewJob, headers: JobHeaders, body: Iterable[bytes]) -> tuple[Job, bool]:
        """Submits a job, or finds the one that the same request made before, and waits for its end if asked to.

        Args:
            new: The job; its deadline, keys and waiter come from ``headers``.
            headers: What the request's headers ask for.
            body: Everything that makes the request what it is, to tell a repetition from a new one; bytes in pieces.

        Returns:
            The job as a create answers it, and whether it was made by this call.

        Raises:
            InvalidInput: The deadline cannot be met.
            NotFound: The job that this idempotency key made has been deleted.
        """
        new = self._addressed(new, headers, body)
        self._check_deadline(new)
        with self._seat(new.id, headers.wait_seconds) as seat:
            if seat is not None:
                new = replace(new, waiter=seat.channel)
            submitted = self._queue.submit(new)
            if submitted.is_new:
                if new.is_followed:
                    self._follow(submitted.id)
                ended = seat.wait(headers.wait_seconds, self._jobs) if seat is not None else None
                return ended or self._fresh(new), True
        return self._replayed(submitted.id, new.account, headers.wait_seconds), False

    def read(self, job_id: str, account: str, wait_seconds: float = 0.0) -> Job | None:
        """An account's job as it is, after its end if that comes within the time; ``None`` where it has no such job."""
        job = self._jobs.get(job_id) if is_job_id(job_id) else None
        if job is None or job.account != account:
            return None
        if job.is_terminal or wait_seconds <= 0:
            return job
        with self._waiting.seat(job_id) as seat:
            if seat is None:
                return job
            self._queue.watch(job_id, seat.channel)
            job = self._jobs.get(job_id)
            if job is None or job.is_terminal:
                return job
            return seat.wait(wait_seconds, self._jobs) or self._jobs.get(job_id)

    def peek(self, job_id: str, account: str) -> Job | None:
        """An account's job without its data; ``None`` where it has no such job."""
        job = self._jobs.peek(job_id) if is_job_id(job_id) else None
        return job if job is not None and job.account == account else None

    def _follow(self, job_id: str) -> None:
        with suppress(ServiceError):  # the job is accepted, and whoever opens its stream asks for it again
            self._queue.follow(job_id)

    def _check_deadline(self, new: NewJob) -> None:
        """Refuses what would only expire: 422, since some clients repeat a 429 at once."""
        if new.deadline_seconds is None:
            return
        wait = self._jobs.expected_wait(new)
        if wait is not None and wait > new.deadline_seconds:
            raise InvalidInput(
                f"The deadline of {new.deadline_seconds:g} s cannot be met: about {wait:.0f} s of work wait before "
                "this job. Ask for more time with Cancel-After, or try again later.",
                "Cancel-After",
                "deadline",
            )

    def _addressed(self, new: NewJob, headers: JobHeaders, body: Iterable[bytes]) -> NewJob:
        if headers.deadline_seconds is not None or headers.traceparent:
            new = replace(new, deadline_seconds=headers.deadline_seconds, traceparent=headers.traceparent)
        if headers.idempotency_key:
            return replace(new, idempotency_key=headers.idempotency_key, body_hash=_digest(body))
        if headers.attempt is not None:
            keep = self._recent.again if headers.attempt else self._recent.begin
            return new.renamed(keep(new.account, _digest(body), new.id))
        return new

    def _seat(self, job_id: str, seconds: float) -> AbstractContextManager[Seat | None]:
        return self._waiting.seat(job_id) if seconds > 0 else nullcontext()

    def _replayed(self, job_id: str, account: str, wait_seconds: float) -> Job:
        job = self.read(job_id, account, wait_seconds)
        if job is None:
            raise NotFound("The job that this request made before has been deleted.")
        return job if job.is_terminal else as_created(job)

    def _fresh(self, new: NewJob) -> Job:
        """The job as it was admitted, without reading it back."""
        now = time.time()
        jobs = self._settings.jobs
        default = jobs.prediction_deadline_seconds if new.kind is JobKind.PREDICTION else jobs.other_deadline_seconds
        life = default if new.deadline_seconds is None else new.deadline_seconds
        return Job(
            id=new.id,
            kind=new.kind,
            account=new.account,
            key_id=new.key_id,
            status=JobStatus.STARTING,
            attempt=0,
            queue=new.queue,
            pool=new.pool,
            priority=new.priority,
            rows=new.rows,
            bytes=new.size,
            deadline=now + life,
            deadline_by_caller=new.deadline_seconds is not None,
            created_at=now,
            model=new.model,
            version=new.version,
            details=new.details,
            source=new.source,
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            input=orjson.loads(new.input) if "sources" in new.details else orjson.Fragment(new.input),
        )


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id, so that no other text becomes part of a key."""
    return _JOB_ID.fullmatch(text) is not None


def as_created(job: Job) -> Job:
    """An unfinished job as the reply to a create shows it: ``starting``, without anything it has put out so far."""
    return replace(job, status=JobStatus.STARTING, output=None, logs="", started_at=None, metrics={}, progress=None)


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()
