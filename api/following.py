"""Wakes the open streams of this process when something happened to their jobs.

Redis says it on one channel for all jobs that are followed, and the process's one subscription hears it. A stream then
reads on from where it was, so that nothing is kept for it here and a slow reader costs no memory.
"""

import threading

from api.slots import Slots
from shared.errors import Unavailable
from shared.settings import Settings


class Seat:
    """The place of one open stream; to be closed.

    Args:
        following: Where the place is.
        job_id: The job that is followed.
    """

    def __init__(self, following: "Following", job_id: str) -> None:
        self.job_id = job_id
        self.event = threading.Event()
        self._following = following

    def wait(self, seconds: float) -> bool:
        """Waits until something happened to the job, or for so long; says which."""
        is_woken = self.event.wait(seconds)
        self.event.clear()
        return is_woken

    @property
    def is_dismissed(self) -> bool:
        """Whether the process is about to end."""
        return self._following.is_dismissed

    def close(self) -> None:
        """Gives the place back; once more does nothing."""
        self._following.leave(self)


class Following:
    """The open streams of this process.

    Args:
        settings: The process's settings.
        slots: The process's threads that streams may hold.
    """

    def __init__(self, settings: Settings, slots: Slots) -> None:
        self.is_dismissed = False
        self._slots = slots
        self._free = settings.http.max_streams
        self._seats: dict[str, set[Seat]] = {}
        self._lock = threading.Lock()

    def seat(self, job_id: str) -> Seat:
        """A place for one more stream.

        Raises:
            Unavailable: All places of the process are taken.
        """
        seat = Seat(self, job_id)
        with self._lock:
            if self._free <= 0 or self.is_dismissed or not self._slots.take_stream():
                raise Unavailable("As many streams are open as the server can hold; poll the job, or try again later.")
            self._free -= 1
            self._seats.setdefault(job_id, set()).add(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Frees a place, if it is still taken."""
        with self._lock:
            others = self._seats.get(seat.job_id, set())
            if seat in others:
                others.remove(seat)
                if not others:
                    del self._seats[seat.job_id]
                self._slots.give_stream()
                self._free += 1

    def noted(self, job_id: str) -> None:
        """Something happened to a job."""
        with self._lock:
            for seat in self._seats.get(job_id, ()):
                seat.event.set()

    def wake_all(self) -> None:
        """Lets every stream look, since something may have been missed."""
        with self._lock:
            for seats in self._seats.values():
                for seat in seats:
                    seat.event.set()

    def dismiss(self) -> None:
        """Ends every stream, and opens no more; their readers come again elsewhere. For the end of the process."""
        self.is_dismissed = True
        self.wake_all()
