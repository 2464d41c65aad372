"""A small data set and the engine, for the tests of trainings."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.models.registry import ModelRegistry
from shared.settings import Settings


@pytest.fixture
def blobs(
    make_run: Callable[..., Any], settings: Settings, artifacts: ArtifactStore, datasets: DatasetStore
) -> Callable[..., str]:
    """Makes a data set whose classes are easy to tell apart: each is bright in a quarter of its own."""
    from workers.datasets import prepare

    def make(name: str = "blobs", count: int = 120, side: int = 16, channels: int = 1) -> str:
        random = np.random.default_rng(0)
        labels = np.arange(count) % 3
        pixels = random.integers(0, 120, (count, side, side, channels), dtype=np.uint8)
        half = side // 2
        for image, label in zip(pixels, labels, strict=True):
            top, left = divmod(int(label), 2)
            image[top * half : (top + 1) * half, left * half : (left + 1) * half] += 130
        local = settings.data_dir / "upload.npz"
        local.parent.mkdir(exist_ok=True)
        np.savez(local, x=pixels, y=np.array(["bird", "cat", "dog"])[labels])
        artifacts.put(local, "uploads/blobs")
        return str(
            prepare(make_run("dataset", name=name, upload="uploads/blobs"), settings, artifacts, datasets)["digest"]
        )

    return make


@pytest.fixture
def train(
    settings: Settings, artifacts: ArtifactStore, registry: ModelRegistry, datasets: DatasetStore
) -> Callable[..., dict[str, Any]]:
    """Runs the engine on a run."""

    def run_engine(run: Any, settings: Settings = settings) -> dict[str, Any]:
        from workers.training.trainer import train

        with warnings.catch_warnings():
            # Keras converts its variables in a way that NumPy has deprecated.
            warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
            return train(run, settings, artifacts, registry, datasets)

    return run_engine
