"""Remembers for less than a second what was looked up and may change, so that a busy process asks Redis rarely."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

_Value = TypeVar("_Value")

LOOKUP_SECONDS = 0.9
"""How long a process trusts an answer: what was changed elsewhere is believed at most this long."""

_MOST = 10_000


class Lookups:
    """Answers by key.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._generation = 0
        self._known: dict[tuple[str, ...], tuple[float, Any]] = {}

    def get(self, key: tuple[str, ...], look: Callable[[], _Value]) -> _Value:
        """The remembered answer, or the one that ``look`` gives."""
        known = self._known.get(key)
        if known is not None and known[0] > self._clock():
            remembered: _Value = known[1]
            return remembered
        generation = self._generation
        value = look()
        if generation != self._generation:
            return value  # from before the change that made us forget: good for this call at most
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (self._clock() + LOOKUP_SECONDS, value)
        return value

    def forget(self) -> None:
        """Drops every answer."""
        self._generation += 1
        self._known.clear()
