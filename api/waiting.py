"""Lets requests wait for the end of jobs: one subscription for the whole process, no polling.

Whoever waits registers first, then reads the job, then waits to be woken and reads again. A message can be lost with
a connection, so every waiter looks again after a reconnect, and every two seconds as a backstop.
"""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from api.following import Following
from api.slots import Slots
from shared.connections import Redis, open_keyspace, translated
from shared.errors import ServiceError
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.outages import Outage
from shared.settings import Settings

log = structlog.get_logger(__name__)

BACKSTOP_SECONDS = 2.0
"""How often a waiter looks although nobody woke it."""

_SILENCE_SECONDS = 15.0
_RETRY_SECONDS = 0.5


class Seat:
    """One request's wait for one job."""

    def __init__(self, job_id: str, channel: str, dismissed: threading.Event) -> None:
        self.job_id = job_id
        self.channel = channel
        self.event = threading.Event()
        self._dismissed = dismissed
        self._is_gone = False

    @property
    def is_over(self) -> bool:
        """Whether it makes no sense to wait on: the process shuts down, or the job is gone."""
        return self._is_gone or self._dismissed.is_set()

    def wait(self, seconds: float, jobs: JobStore) -> Job | None:
        """The job once it has ended, or ``None`` when the time is over, the process shuts down or the job is gone.

        A failure of Redis in the meantime is not the caller's: the job was accepted, so the wait goes on.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._dismissed.is_set():
            woken = self.event.wait(min(left, BACKSTOP_SECONDS))
            self.event.clear()
            try:
                job = jobs.get(self.job_id) if woken else jobs.peek(self.job_id)
                if job is None:
                    self._is_gone = True
                    return None
                if job.is_terminal:
                    return job if woken else jobs.get(self.job_id)
            except ServiceError:
                time.sleep(min(_RETRY_SECONDS, max(0.0, end - time.monotonic())))
        return None


class Waiting:
    """The requests of this process that wait, and the thread that wakes them.

    Args:
        redis: The server.
        settings: The process's settings.
        slots: The process's threads that waits may hold.
        changed: Called when another process has changed keys, aliases or versions, and when that may have been missed.
        following: The streams, which hear by the same subscription.
    """

    def __init__(
        self, redis: Redis, settings: Settings, slots: Slots, changed: Callable[[], None], following: Following
    ) -> None:
        names = open_keyspace(settings)
        self.channel = names.plain("wake", f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
        self._changes = names.plain("changed")
        self._notes = names.in_shard("noted")
        self._following = following
        self._redis = redis
        self._slots = slots
        self._changed = changed
        self._free = settings.http.max_waiting
        self._seats: dict[str, set[Seat]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._dismissed = threading.Event()
        self._outage = Outage(log, "Redis does not answer; requests that need it are refused until it does")
        self._thread = threading.Thread(target=self._listen, name="waiting", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening; waiters end by their own time."""
        self._stop.set()
        with contextlib.suppress(ServiceError), translated():
            self._redis.publish(self.channel, "")
        self._thread.join(2 * _RETRY_SECONDS)

    def dismiss(self) -> None:
        """Lets all that wait be answered now, and nobody wait any more; for the end of the process."""
        self._dismissed.set()
        self._following.dismiss()
        self._wake_all()

    @contextmanager
    def seat(self, job_id: str) -> Iterator[Seat | None]:
        """A place to wait for a job, ``None`` where all places of the process are taken."""
        seat = Seat(job_id, self.channel, self._dismissed)
        with self._lock:
            taken = self._free > 0 and not self._dismissed.is_set() and self._slots.take_wait()
            if taken:
                self._free -= 1
                self._seats.setdefault(job_id, set()).add(seat)
        if not taken:
            yield None
            return
        try:
            yield seat
        finally:
            with self._lock:
                self._slots.give_wait()
                self._free += 1
                others = self._seats[job_id]
                others.discard(seat)
                if not others:
                    del self._seats[job_id]

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with translated(), self._redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
                    subscription.subscribe(self.channel, self._changes, self._notes)
                    self._hear(subscription)
            except ServiceError as error:
                self._outage.failed(error)
            except Exception:
                log.exception("the subscription for waiting requests failed")
            self._stop.wait(_RETRY_SECONDS)

    def _hear(self, subscription: Any) -> None:
        heard = time.monotonic()
        asked = False
        while not self._stop.is_set():
            message = subscription.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                heard, asked = now, False
                self._take(message)
            elif now - heard > 2 * _SILENCE_SECONDS:
                return
            elif now - heard > _SILENCE_SECONDS and not asked:
                asked = True
                subscription.ping()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":  # also after the client reconnected by itself
            self._outage.over()
            self._changed()
            self._wake_all()
            self._following.wake_all()
        elif message["type"] != "message":
            return
        elif message["channel"] == self._changes.encode():
            self._changed()
        elif message["channel"] == self._notes.encode():
            self._following.noted(message["data"].decode())
        else:
            with self._lock:
                for seat in self._seats.get(message["data"].decode(), ()):
                    seat.event.set()

    def _wake_all(self) -> None:
        with self._lock:
            for seats in self._seats.values():
                for seat in seats:
                    seat.event.set()
