"""Says of something that fails again and again that it does: at once, then every half a minute, and when it is over."""

import threading
import time

import structlog

PERIOD_SECONDS = 30.0


class Outage:
    """What one part of a process says of what it depends on; may be called from many threads.

    Args:
        log: The logger of that part.
        what: What does not work meanwhile, the beginning of the sentence.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, what: str) -> None:
        self._log = log
        self._what = what
        self._lock = threading.Lock()
        self._began: float | None = None
        self._said = 0.0

    def failed(self, error: Exception) -> None:
        """It does not work now, for this reason."""
        now = time.monotonic()
        with self._lock:
            if self._began is None:
                self._began = now
            elif now - self._said < PERIOD_SECONDS:
                return
            self._said, seconds = now, round(now - self._began)
        self._log.warning(self._what, error=reason(error), since_seconds=seconds)

    def over(self) -> None:
        """It works."""
        with self._lock:
            began, self._began = self._began, None
        if began is not None:
            self._log.info(f"over: {self._what}", after_seconds=round(time.monotonic() - began, 1))


def reason(error: Exception) -> str:
    """What happened, with what the server or the system said of it."""
    cause = error.__cause__
    return f"{error} ({cause})" if cause is not None else str(error)
