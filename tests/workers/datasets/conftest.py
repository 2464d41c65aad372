"""Uploads for the tests of the data set engine."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.errors import DatasetRefused
from shared.settings import Settings
from workers.datasets import prepare


def png_of(seed: int, height: int = 6, width: int = 5, channels: int = 3) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def zip_of(members: Mapping[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A PNG file of random pixels, the same for the same seed."""
    return png_of


@pytest.fixture
def pack() -> Callable[..., bytes]:
    """A zip archive of members by name."""
    return zip_of


@pytest.fixture
def two_classes() -> Callable[..., dict[str, bytes]]:
    """Members of an archive with some images of cats and dogs."""

    def make(count: int = 10, **shape: int) -> dict[str, bytes]:
        return {
            f"{label}/{index}.png": png_of(1000 * place + index, **shape)
            for place, label in enumerate(("cat", "dog"))
            for index in range(count)
        }

    return make


@pytest.fixture
def savez() -> Callable[..., bytes]:
    """An npz file of arrays by name."""

    def make(**arrays: Any) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    return make


@pytest.fixture
def run_prepare(
    make_run: Callable[..., Any], settings: Settings, artifacts: ArtifactStore, datasets: DatasetStore
) -> Callable[..., dict[str, Any]]:
    """Runs a data set job over an upload and answers its output."""

    def run(upload: bytes, name: str = "pets", settings: Settings = settings, **details: Any) -> dict[str, Any]:
        artifacts.write("uploads/one", upload)
        job = make_run("dataset", name=name, upload="uploads/one", **details)
        return prepare(job, settings, artifacts, datasets)

    return run


@pytest.fixture
def refusal(run_prepare: Callable[..., dict[str, Any]], artifacts: ArtifactStore) -> Callable[..., str]:
    """The sentence with which an upload is refused; what it leaves behind is looked at too."""

    def refused(upload: bytes, **details: Any) -> str:
        with pytest.raises(DatasetRefused) as caught:
            run_prepare(upload, **details)
        assert caught.value.code == "E1601"
        assert not artifacts.names("uploads") and not artifacts.names("datasets")
        return caught.value.message

    return refused
