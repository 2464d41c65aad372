"""What happened to a followed job, as its stream in Redis tells it: read from the start, or on from a place.

The stream is bounded and lets its oldest entries go; a reader that comes too late is told how many it has missed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from shared.connections import Redis, open_keyspace
from shared.jobs.lua import Scripts
from shared.settings import Settings

PAGE = 100
"""Most entries of one reading."""

_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,9})(?::([0-9]{1,9}))?")


class Place(NamedTuple):
    """A place in a job's history; ``part`` counts what one entry of the stream became for a reader."""

    milliseconds: int
    sequence: int
    part: int = 0

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The place that a text names; ``None`` where it names none."""
        form = _PLACE.fullmatch(text)
        return cls(int(form[1]), int(form[2]), int(form[3] or 0)) if form else None

    def __str__(self) -> str:
        """The text that ``parse`` reads."""
        head = f"{self.milliseconds}-{self.sequence}"
        return f"{head}:{self.part}" if self.part else head


START = Place(0, 0)
"""Before everything."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's stream."""

    place: Place
    name: str
    """``status``, ``progress``, ``log`` or ``output``."""
    data: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading found."""

    events: Sequence[Event]
    missed: int
    """Entries that were gone before they could be read."""


class History:
    """Reads the stream of one job, entry by entry, from its start.

    Args:
        redis: The server.
        settings: The process's settings.
        job_id: The job.
    """

    def __init__(self, redis: Redis, settings: Settings, job_id: str) -> None:
        self._scripts = Scripts(redis)
        self._tag = open_keyspace(settings).tag(job_id[0])
        self._id = job_id
        self._last = ""
        self._count = 0

    def read(self) -> Reading:
        """The next entries, none where there are no more yet.

        Raises:
            Unavailable: Redis does not answer; the next reading goes on from the same place.
        """
        dropped, *entries = self._scripts.call("history", self._tag, self._id, self._last, PAGE)
        if dropped == -1:
            entries = entries[1:]
        missed = max(0, dropped - self._count)
        if entries:
            self._count += missed + len(entries)
            self._last = entries[-1][0].decode()
        return Reading([_event(*entry) for entry in entries], missed if entries else 0)


def _event(entry_id: bytes, fields: Sequence[bytes]) -> Event:
    milliseconds, _, sequence = entry_id.partition(b"-")
    facts = dict(zip(fields[::2], fields[1::2], strict=True))
    place = Place(int(milliseconds), int(sequence))
    return Event(place, facts[b"event"].decode(), facts[b"data"].decode(errors="replace"))
