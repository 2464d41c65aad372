"""Knows how each host behaves, and lets nothing go for a while to one that fails again and again.

The pause is on the host's lane in Redis, so that all io workers keep it; what was seen is this process's own.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import structlog

from shared.jobs.new_job import is_fetch_lane
from shared.jobs.outgoing import Outgoing
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures

log = structlog.get_logger(__name__)

_KNOWN = 10_000
"""Hosts remembered; the one that was heard of least recently is forgotten first."""

_LISTED = 500  # a lease names so many hosts at most


@dataclass(slots=True)
class _Host:
    failures: int = 0
    openings: int = 0
    open_until: float = 0.0
    is_slow: bool = False


class Circuits:
    """One process's view of the hosts.

    Args:
        outgoing: The lanes.
        figures: Where open circuits are counted.
        settings: The process's settings.
    """

    def __init__(self, outgoing: Outgoing, figures: WebhookFigures, settings: Settings) -> None:
        self._outgoing = outgoing
        self._figures = figures
        self._settings = settings.webhooks
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._lock = threading.Lock()

    def took(self, host: str, seconds: float) -> None:
        """Notes how long an errand kept a thread, whatever came of it."""
        with self._lock:
            self._known(host).is_slow = seconds > self._settings.slow_seconds

    def succeeded(self, host: str) -> None:
        """Notes an attempt that the host answered."""
        with self._lock:
            known = self._known(host)
            was_open = known.openings > 0
            known.failures = known.openings = 0
            known.open_until = 0.0
        if was_open:
            log.info("a receiver answers again", host=host)
            self._outgoing.pause(host, 0)
            self._figures.circuit_closed(host)

    def failed(self, host: str) -> None:
        """Notes an attempt that the host did not answer, or with a failure of its own; too many open its circuit."""
        with self._lock:
            known = self._known(host)
            known.failures += 1
            now = time.monotonic()
            # What was under way while the circuit opened tells nothing new.
            if known.failures < self._settings.circuit_failures or now < known.open_until:
                return
            pause = min(self._settings.max_circuit_seconds, self._settings.circuit_seconds * 2**known.openings)
            known.openings = min(known.openings + 1, 30)
            known.open_until = now + pause
        log.warning("a receiver fails again and again", host=host, pause_seconds=pause)
        self._outgoing.pause(host, pause)
        self._figures.circuit_opened(host, pause)

    def prompt(self, *, fetches: bool = False) -> list[str]:
        """Lanes that did not keep a thread for long the last time and have no open circuit; those met last first.

        Args:
            fetches: Of the lanes of downloads only, or of all others only.
        """
        return self._some(fetches, lambda known: not known.is_slow and not known.openings)

    def failing(self, *, fetches: bool = False) -> list[str]:
        """Lanes whose host kept one for long and did not answer, or that have an open circuit."""
        return self._some(fetches, lambda known: known.openings > 0 or (known.is_slow and known.failures > 0))

    def _some(self, fetches: bool, fits: Callable[[_Host], bool]) -> list[str]:
        with self._lock:
            found = (
                host for host, known in reversed(self._hosts.items()) if is_fetch_lane(host) is fetches and fits(known)
            )
            return list(islice(found, _LISTED))

    def _known(self, host: str) -> _Host:
        known = self._hosts.setdefault(host, _Host())
        self._hosts.move_to_end(host)
        while len(self._hosts) > _KNOWN:
            self._hosts.popitem(last=False)
        return known
