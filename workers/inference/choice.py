"""Chooses the line that this process serves next: busy models share its time by their weights.

Among loaded models the one with the least time goes first, time being divided by the model's weight; who had nothing to
do saves up nothing. A model that is not loaded has its turn when it is the first in the pool's round, once what was
loaded last has had its time, and while no other worker is busy with the same load.
"""

import time
from collections.abc import Sequence
from typing import Protocol

from shared.errors import ServiceError
from shared.jobs.new_job import subject_of
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings

SLICES_PER_LOAD = 5
"""How many times its own load time a loaded model is kept busy before another one may be loaded in its place."""
ENGAGED_SECONDS = 30.0
"""How long after its last batch a model counts as one that a load here would keep waiting."""


class Loaded(Protocol):
    """What the choice needs of the model cache."""

    def holds(self, version_id: str) -> bool:
        """Whether the version is ready."""


class Choice:
    """What one process serves, and how long each version has been served.

    Args:
        cache: The models it holds ready.
        registry: Knows who loads what.
        settings: The settings of inference workers.
    """

    def __init__(self, cache: Loaded, registry: ModelRegistry, settings: InferenceSettings) -> None:
        self._cache = cache
        self._registry = registry
        self._settings = settings
        self._stay_until = 0.0
        self._now_served = 0.0  # the virtual time: what the version now served had before
        self._time: dict[str, float] = {}
        self._cost: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def of(self, lines: Sequence[str]) -> str | None:
        """The line to serve next, in their turn; ``None`` where each of them waits for a load in another worker."""
        held = [line for line in lines if self._cache.holds(subject_of(line))]
        if not held or time.monotonic() >= self._stay_until:
            others = lines if not held else lines[:1]
            for line in others:
                if line not in held and self._may_load(subject_of(line)):
                    return line
        return min(held, key=lambda line: self._had(subject_of(line))) if held else None

    def is_engaged(self, version: str) -> bool:
        """Whether this process has served another version of late, which a load would keep waiting."""
        since = time.monotonic() - ENGAGED_SECONDS
        return any(at >= since for other, at in list(self._last.items()) if other != version)

    def loaded(self, seconds: float) -> None:
        """Notes that a version was loaded, and how long that took."""
        self._stay_until = time.monotonic() + max(self._settings.slice_seconds, SLICES_PER_LOAD * seconds)

    def begin(self, version: str) -> float:
        """Charges a version for the batch that was taken, as much as its last one took; answers that."""
        cost = self._cost.get(version, 0.0)
        self._now_served = self._had(version)
        self._time[version] = self._now_served + cost
        self._last[version] = time.monotonic()
        return cost

    def end(self, version: str, charged: float, seconds: float) -> None:
        """Corrects the charge of a batch once it is known how long it took."""
        cost = seconds / self._weight(version)
        self._time[version] += cost - charged
        self._cost[version] = cost
        self._last[version] = time.monotonic()

    def _may_load(self, version: str) -> bool:
        return not self.is_engaged(version) or self._registry.turns.is_free(version)

    def _had(self, version: str) -> float:
        return max(self._time.get(version, 0.0), self._now_served)

    def _weight(self, version: str) -> float:
        weights = self._settings.weights
        if not weights:
            return 1.0
        try:
            return weights.get(self._registry.version(version).model, 1.0)
        except ServiceError:  # deleted meanwhile, or Redis is away: no reason to lose the batch
            return 1.0
