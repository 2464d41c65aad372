"""Tells people and programs how far a long job is: events, and lines that stock clients read a percentage from."""

import time
from collections.abc import Mapping
from typing import Any

from workers.run import Run

_WIDTH = 20


def bar_line(done: int, total: int, seconds: float, unit: str, facts: Mapping[str, Any] | None = None) -> str:
    """A line as tqdm prints it, ``45%|█████     | 9/20 [00:04<00:05, 2.2step/s, loss=0.31]``.

    Args:
        done: Units that are done.
        total: All units.
        seconds: Time that they took.
        unit: What is counted.
        facts: More to say, behind the pace.
    """
    share = min(1.0, done / total) if total else 1.0
    filled = int(share * _WIDTH)
    pace = done / seconds if seconds > 0 else 0.0
    left = clock((total - done) / pace) if pace else "?"
    more = "".join(f", {name}={value}" for name, value in (facts or {}).items())
    bar = "█" * filled + " " * (_WIDTH - filled)
    return f"{int(share * 100):3d}%|{bar}| {done}/{total} [{clock(seconds)}<{left}, {pace:.1f}{unit}/s{more}]"


def clock(seconds: float) -> str:
    """A duration as ``mm:ss``, or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class Stage:
    """One stage of a job whose units can be counted.

    Every step asks the run whether the job is still ours, so a cancel ends the stage within one unit.

    Args:
        run: The job.
        name: What the stage does, ``reading``.
        total: Units to come.
        unit: What is counted.
    """

    PERIOD_SECONDS = 0.5
    """How often progress is sent."""

    def __init__(self, run: Run, name: str, total: int, unit: str) -> None:
        self._run, self._name, self._total, self._unit = run, name, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()

    def expect(self, total: int) -> None:
        """Says how many units there are, where that was not known before."""
        self._total = total

    def step(self) -> None:
        """Counts one unit, and tells when it is time."""
        self._run.check()
        self._done += 1
        if time.monotonic() - self._told >= self.PERIOD_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Sends where the stage is."""
        self._told = time.monotonic()
        seconds = self._told - self._began
        self._run.log(bar_line(self._done, self._total, seconds, self._unit, {"stage": self._name}))
        self._run.report(stage=self._name, done=self._done, total=self._total)
