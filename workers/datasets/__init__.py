"""The engine that turns uploads into data sets."""

from workers.datasets.preparation import prepare

__all__ = ["prepare"]
