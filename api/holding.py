"""Holds a request until its job has ended, in steps, so that its reply can show signs of life in between."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from api.waiting import Seat
from shared.jobs.job import Job
from shared.jobs.store import JobStore

_REGISTER_AGAIN_SECONDS = 60.0  # half the life of a registration


class Hold:
    """One wait for one job.

    Args:
        seat: Where the request waits.
        seconds: How long.
        jobs: Where the job is read.
        register: Asks anew to be woken; the first registration is the caller's.
        otherwise: What to answer unless the job ends in time.
    """

    def __init__(
        self,
        seat: Seat,
        seconds: float,
        jobs: JobStore,
        register: Callable[[], None],
        otherwise: Callable[[], Job | None],
    ) -> None:
        self._seat = seat
        self._end = time.monotonic() + seconds
        self._jobs = jobs
        self._register = register
        self._registered = time.monotonic()
        self._otherwise = otherwise
        self._ended: Job | None = None
        self._resources = ExitStack()

    def wait(self, seconds: float) -> bool:
        """Waits at most so long; True once there is nothing to wait for any more."""
        if time.monotonic() - self._registered > _REGISTER_AGAIN_SECONDS:
            self._register()
            self._registered = time.monotonic()
        self._ended = self._seat.wait(min(seconds, self._end - time.monotonic()), self._jobs)
        return self._ended is not None or self._seat.is_over or time.monotonic() >= self._end

    def answer(self) -> Job | None:
        """The job that has ended, or what is answered instead."""
        return self._ended or self._otherwise()

    def keep(self, resources: ExitStack) -> None:
        """Takes over what the wait holds, until ``close``."""
        self._resources = resources

    def close(self) -> None:
        """Gives up what the wait holds; a second time nothing happens."""
        self._resources.close()
