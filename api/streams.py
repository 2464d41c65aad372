"""Streams what happens to a job, from its start or from where the reader was, until it has ended.

A stream reads the job's history in Redis, so that a reader who comes late or again has all of it; what the reader had
before is told from the ids alone. A job that has ended without a history is told from its record, each time with the
same ids.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from flask import Response, request

from api.dialects import Dialect, Said
from api.following import Seat
from api.services import Services, services
from api.sse import HEADERS, HEARTBEAT, frame
from shared.errors import NotFound, ServiceError
from shared.jobs.events import START, History, Place
from shared.jobs.job import Job, JobKind, JobStatus
from shared.rows import Mismatch, rows_of

_RETRY_SECONDS = 0.5
_LAST_SEEN = ("HTTP_LAST_EVENT_ID", "last_event_id")


def stream_reply(job: Job, dialect: Dialect, is_let_in: Callable[[], bool]) -> Response:
    """Opens a stream on a job; 204 where its reader has had everything, which lets a browser rest.

    Args:
        job: The job.
        dialect: In whose events it is told.
        is_let_in: Whether its reader may still read it; asked again and again, since a stream outlives its request.

    Raises:
        Unavailable: As many are open as the process can hold.
    """
    found = services()
    after = _last_seen()
    seat = found.following.seat(job.id)
    try:
        if not job.is_terminal:
            found.queue.follow(job.id)
        stream = EventStream(found, job.id, dialect, after, seat, is_let_in)
        if job.is_terminal and after > START and stream.is_told():
            seat.close()
            return Response(status=204)
    except BaseException:
        seat.close()
        raise
    reply = Response(stream, headers=list(HEADERS))
    reply.call_on_close(seat.close)
    return reply


class EventStream:
    """The body of the reply: yields events as they come, and heartbeats.

    Args:
        found: The process's services.
        job_id: The job.
        dialect: In whose events it is told.
        after: What the reader had last.
        seat: Wakes it; closed with the stream.
        is_let_in: Whether the reader may still read it.
    """

    def __init__(
        self, found: Services, job_id: str, dialect: Dialect, after: Place, seat: Seat, is_let_in: Callable[[], bool]
    ) -> None:
        self._found = found
        self._id = job_id
        self._dialect = dialect
        self._after = after
        self._base = found.urls.base
        self._seat = seat
        self._is_let_in = is_let_in
        self._history = History(found.redis, found.settings, job_id)
        self._heartbeat = found.settings.http.heartbeat_seconds
        self._spoke = time.monotonic()
        self._ready: list[bytes] = []
        self._last = START
        self._is_to_look = True
        self._closing: tuple[Place, str] | None = None
        self._is_over = False

    def __iter__(self) -> Self:
        """The stream itself."""
        return self

    def __next__(self) -> bytes:
        """The next events in one piece, or a heartbeat; waits for them."""
        while not self._ready:
            if self._is_over or self._seat.is_dismissed:
                raise StopIteration
            try:
                if self._read():
                    continue
            except ServiceError:
                self._rest(_RETRY_SECONDS)
            else:
                self._rest(self._heartbeat)
        piece = b"".join(self._ready)
        self._ready.clear()
        self._spoke = time.monotonic()
        return piece

    def is_told(self) -> bool:
        """Whether nothing is left to say of a job that has ended; what is left is kept."""
        while self._read():
            if self._ready:
                return False
        return self._is_over and not self._ready

    def close(self) -> None:
        """Gives up the place of the stream."""
        self._seat.close()

    def _rest(self, seconds: float) -> None:
        left = self._spoke + self._heartbeat - time.monotonic()
        self._seat.wait(max(0.0, min(seconds, left)))
        self._is_to_look = True
        if not self._is_let_in():
            self._is_over = True
        elif time.monotonic() - self._spoke >= self._heartbeat:
            self._ready.append(HEARTBEAT)

    def _read(self) -> bool:
        """Reads on; whether there was something new.

        Raises:
            Unavailable: Redis does not answer; the next call goes on from the same place.
        """
        if self._is_over:
            return False
        if self._closing is not None:
            self._end(*self._closing, self._found.jobs.get(self._id))
            return True
        reading = self._history.read()
        if reading.missed and reading.events[0].place > self._after:
            self._tell_gap(reading.missed)
        for event in reading.events:
            self._last = event.place
            if event.name == "status" and JobStatus(event.data).is_terminal:
                self._closing = event.place, event.data
                return True
            self._tell(event.place, self._dialect.event(event))
        if reading.events:
            self._is_to_look = False
            return True
        return self._look()

    def _look(self) -> bool:
        """Looks at the record, where nothing came that should have: it may have ended without a history, or be gone."""
        if not self._is_to_look:
            return False
        self._is_to_look = False
        job = self._found.jobs.peek(self._id)
        if job is None:  # deleted, before which it was canceled unless it had ended
            self._end(Place(self._last.milliseconds, self._last.sequence + 1), JobStatus.CANCELED, None)
            return True
        if not job.is_terminal:
            return False
        whole = self._found.jobs.get(self._id)
        beyond = Place(self._last.milliseconds, self._last.sequence + 1)
        place = max(Place(int((job.completed_at or 0) * 1000), 0), beyond)
        logged = [self._dialect.log(whole.logs)] if whole is not None and whole.logs and self._last == START else []
        self._end(place, job.status, whole, logged)
        return True

    def _end(self, place: Place, status: str, job: Job | None, before: Iterable[Said] = ()) -> None:
        self._tell(place, [*before, *self._last_words(JobStatus(status), job)])
        self._is_over = True

    def _last_words(self, status: JobStatus, job: Job | None) -> Iterator[Said]:
        if job is None:
            yield from self._dialect.end(status, None, {})
            return
        shown = self._found.view(job, self._base)
        yield from self._dialect.rest(job, shown["output"], _is_many(self._found, job))
        yield from self._dialect.end(status, job.error, shown["metrics"])

    def _tell(self, place: Place, said: Iterable[Said]) -> None:
        for part, (name, data) in enumerate(said):
            at = place._replace(part=part)
            if at > self._after:
                self._ready.append(frame(name, data, at))

    def _tell_gap(self, missed: int) -> None:
        """Says that events are gone, and what of their output the record still has.

        The ids lead back to the start: who reads on from there misses nothing that is still to be had.
        """
        said = self._dialect.gap(missed)
        job = self._found.jobs.get(self._id)
        if job is not None and job.rows > 1 and isinstance(job.output, list):
            said += self._dialect.items(0, job.output)
        self._ready += [frame(name, data, START._replace(part=part + 1)) for part, (name, data) in enumerate(said)]


def _is_many(found: Services, job: Job) -> bool:
    """Whether the output is a list of answers to rows; that of one row may be a list itself."""
    if job.kind is not JobKind.PREDICTION or job.rows > 1 or job.iterates:
        return job.rows > 1 or job.iterates
    if not isinstance(job.output, list) or not isinstance(job.input, dict):
        return False
    try:
        inputs = found.registry.version(job.version).signature.inputs
        return any(rows_of(spec, job.input[spec.name])[1] for spec in inputs)
    except (NotFound, Mismatch, KeyError):
        return False


def _last_seen() -> Place:
    """What the reader says it had last: in the header that browsers send, or in the query."""
    header, name = _LAST_SEEN
    text: Any = request.environ.get(header) or request.args.get(name, "")
    return Place.parse(text) or START
