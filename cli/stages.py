"""The stages of the demo: what each has to say, and how long it took."""

import time
from typing import Any

from cli.terminal import out

STAGES = ("start", "dataset", "train", "promote", "predict", "webhook", "cancel", "stop")
"""In their order."""


class Stages:
    """Tells each stage with the time since the start, and keeps what --json prints.

    Args:
        is_quiet: Tell nothing.
    """

    def __init__(self, is_quiet: bool) -> None:
        self.is_quiet = is_quiet
        self.figures: dict[str, Any] = {"seconds": {}}
        self._begun = self._last = time.monotonic()

    def done(self, stage: str, sentence: str) -> None:
        """Says that a stage is over."""
        now = time.monotonic()
        self.figures["seconds"][stage] = round(now - self._last, 2)
        self._last = now
        if not self.is_quiet:
            out.print(f"{now - self._begun:6.1f} s  {sentence}", markup=False)

    def slowest(self) -> tuple[str, float, bool]:
        """The stage that has taken longest, its seconds so far, and whether it is over."""
        seconds = dict(self.figures["seconds"])
        now = STAGES[len(seconds)]
        seconds[now] = time.monotonic() - self._last
        stage = max(seconds, key=seconds.__getitem__)
        return stage, seconds[stage], stage != now

    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun
