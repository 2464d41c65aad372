"""Keeps a guardian beside the supervisor: the process that cleans up should the supervisor be killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli.processes import GUARDIAN, ProcessRecord, record_of


class Guard:
    """One guardian after another, each in a session of its own.

    Args:
        run_file: Where a guardian finds what to end.
        grace_seconds: How long it gives processes to stop.
        delay: Seconds until the next start, by the number of early deaths in a row.
        steady_seconds: How long a guardian runs whose death is no early one.
    """

    def __init__(
        self, run_file: Path, grace_seconds: float, delay: Callable[[int], float], steady_seconds: float
    ) -> None:
        self._command = (sys.executable, "-P", "-m", "cli.guardian", str(run_file), str(grace_seconds))
        self._delay, self._steady_seconds = delay, steady_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._record: ProcessRecord | None = None
        self._started = self._restart_at = 0.0
        self._deaths = 0

    @property
    def records(self) -> list[ProcessRecord]:
        """What the run file says of it: nothing while there is none."""
        return [] if self._record is None else [self._record]

    def start(self) -> None:
        """Starts a guardian."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started = time.monotonic()
        self._record = record_of(GUARDIAN, self._process.pid)

    def ended(self, now: float) -> tuple[int, float] | None:
        """The exit status of a guardian that has died since the last call, and the seconds until the next one."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._let_go()
        self._deaths = 1 if now - self._started > self._steady_seconds else self._deaths + 1
        return status, self._put_off(now)

    def start_again(self, now: float) -> bool:
        """Starts the next guardian where one is due; answers whether it did.

        Raises:
            OSError: It cannot be started; it is tried again later.
        """
        if self._process is not None or now < self._restart_at:
            return False
        try:
            self.start()
        except OSError:
            self._deaths += 1
            self._put_off(now)
            raise
        return True

    def stop(self, seconds: float) -> None:
        """Ends the guardian by the end of its input, once the run file names nothing that it would end."""
        if self._process is None:
            return
        process = self._process
        self._let_go()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:  # it may have been stopped by a signal
            process.kill()
            process.wait()

    def _put_off(self, now: float) -> float:
        delay = self._delay(self._deaths)
        self._restart_at = now + delay
        return delay

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = self._record = None
