"""The one entrance: every job of every kind is made here, whatever surface its request came by.

The answer is a job that has ended, or one that is ``starting`` without output, whatever its record says by then:
stock clients take any other status for the end and output seen early for output seen.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import orjson

from api.headers import JobHeaders, Wait
from api.holding import Hold
from api.waiting import Seat, Waiting
from shared.connections import Redis
from shared.errors import InvalidInput, NotFound, ServiceError
from shared.jobs.job import Job, JobKind, JobStatus
from shared.jobs.new_job import NewJob, Submitted
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.recent_bodies import RecentBodies
from shared.settings import Settings

_JOB_ID = re.compile(r"[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered."""

    job: Job
    """As it is known by now."""
    is_new: bool = False
    """Whether this request made it."""
    hold: Hold | None = None
    """Where the request waits on: whoever answers it goes on, and closes it."""


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

    def create(self, new: NewJob, headers: JobHeaders, body: Iterable[bytes]) -> Answer:
        """Submits a job, or finds the one that the same request made before, and waits for its end if asked to.

        Where the headers ask for signs of life, it waits no longer than until the first of them.

        Args:
            new: The job; its deadline, keys and waiter come from ``headers``.
            headers: What the request's headers ask for.
            body: Everything that makes the request what it is, to tell a repetition from a new one; bytes in pieces.

        Raises:
            InvalidInput: The deadline cannot be met.
            NotFound: The job that this idempotency key made has been deleted.
        """
        new = self._addressed(new, headers, body)
        self._check_deadline(new)
        with ExitStack() as stack:
            seat = self._seat(new.id, headers.wait, stack)
            if seat is not None:
                new = replace(new, waiter=seat.channel)
            submitted = self._queue.submit(new)
            if submitted.is_new:
                fresh = Answer(self._fresh(new, submitted), True)
                if seat is None:
                    return fresh
                return self._wait(seat, headers.wait, stack, fresh, lambda: fresh.job) or fresh
        return self._replayed(submitted.id, new.account, headers.wait)

    def read(self, job_id: str, account: str) -> Job | None:
        """An account's job as it is; ``None`` where it has no such job."""
        job = self._jobs.get(job_id) if is_job_id(job_id) else None
        return job if job is not None and job.account == account else None

    def follow(self, job: Job, wait: Wait) -> Answer | None:
        """A job that was read, after its end if that comes in time; ``None`` where it was deleted meanwhile."""
        if job.is_terminal or wait.seconds <= 0:
            return Answer(job)
        with ExitStack() as stack:
            seat = self._seat(job.id, wait, stack)
            if seat is None:
                return Answer(job)
            self._queue.watch(job.id, seat.channel)
            now = self._jobs.get(job.id)
            if now is None or now.is_terminal:
                return None if now is None else Answer(now)
            return self._wait(seat, wait, stack, Answer(now), lambda: self._jobs.get(job.id))

    def peek(self, job_id: str, account: str) -> Job | None:
        """An account's job without its data; ``None`` where it has no such job."""
        job = self._jobs.peek(job_id) if is_job_id(job_id) else None
        return job if job is not None and job.account == account else None

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
        if (seconds := self._settings.http.repeat_seconds) > 0:
            return new.renamed(self._recent.again(new.account, _digest(body), new.id, seconds))
        return new

    def _seat(self, job_id: str, wait: Wait, stack: ExitStack) -> Seat | None:
        return stack.enter_context(self._waiting.seat(job_id)) if wait.seconds > 0 else None

    def _wait(
        self, seat: Seat, wait: Wait, stack: ExitStack, known: Answer, otherwise: Callable[[], Job | None]
    ) -> Answer | None:
        """Waits until the job has ended, or a first sign of life is due; ``None`` where the job is gone."""

        def register() -> None:
            with suppress(ServiceError):
                self._queue.watch(seat.job_id, seat.channel)

        hold = Hold(seat, wait.seconds, self._jobs, register, otherwise)
        if hold.wait(wait.beat_seconds or wait.seconds):
            job = hold.answer()
            return None if job is None else replace(known, job=job)
        hold.keep(stack.pop_all())
        return replace(known, hold=hold)

    def _replayed(self, job_id: str, account: str, wait: Wait) -> Answer:
        job = self.read(job_id, account)
        answer = self.follow(job, wait) if job is not None else None
        if answer is None:
            raise NotFound("The job that this request made before has been deleted.")
        return answer

    def _fresh(self, new: NewJob, submitted: Submitted) -> Job:
        """The job as it was admitted, without reading it back."""
        now = submitted.created_at or time.time()
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
            deadline=now + int(life * 1000) / 1000,
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
