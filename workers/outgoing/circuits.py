"""Knows how each host behaves, and lets nothing go for a while to one that fails again and again.

The pause is on the host's lane in Redis, so that all io workers keep it; what was seen is this process's own.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from shared.jobs.outgoing import Outgoing
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures

log = structlog.get_logger(__name__)

_KNOWN = 10_000
"""Hosts remembered; the one that was heard of least recently is forgotten first."""


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

    def succeeded(self, host: str, seconds: float) -> None:
        """Notes an attempt that was answered as it should be, and how long it took."""
        with self._lock:
            known = self._known(host)
            was_open = known.openings > 0
            known.failures = known.openings = 0
            known.open_until = 0.0
            known.is_slow = seconds > self._settings.slow_seconds
        if was_open:
            log.info("a receiver answers again", host=host)
            self._outgoing.pause(host, 0)
            self._figures.circuit_closed(host)

    def failed(self, host: str, seconds: float) -> None:
        """Notes an attempt that failed; one too many in a row opens the host's circuit."""
        with self._lock:
            known = self._known(host)
            known.failures += 1
            known.is_slow = seconds > self._settings.slow_seconds
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

    def doubtful(self, limit: int = 500) -> Mapping[str, bool]:
        """The hosts that were slow or failed of late; true where a circuit waits for a first success."""
        found: dict[str, bool] = {}
        with self._lock:
            for host, known in reversed(self._hosts.items()):
                if known.is_slow or known.openings:
                    found[host] = known.openings > 0
                if len(found) == limit:
                    break
        return found

    def _known(self, host: str) -> _Host:
        known = self._hosts.setdefault(host, _Host())
        self._hosts.move_to_end(host)
        while len(self._hosts) > _KNOWN:
            self._hosts.popitem(last=False)
        return known
