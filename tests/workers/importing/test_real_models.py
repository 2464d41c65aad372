import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.errors import ImportRefused
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from workers.images import open_image
from workers.importing.importer import import_version
from workers.inference.predictor import load

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CACHE = Path("~/.cache/headrace-tests").expanduser()
CIFAR_MODEL = (
    "cifar-10-model==7.4.0",
    "cifar_10_model-7.4.0-py3-none-any.whl",
    "bf1d74404875d39bb874df97d7b924b98af81e85c4bccb6091ef3a115dd9920a",
)
FOOLBOX = (
    "foolbox==3.3.4",
    "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def wheel(requirement: str, name: str, sha256: str) -> zipfile.ZipFile:
    """A package as an archive: nothing of it is installed or run."""
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(CACHE)]
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"{requirement} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return zipfile.ZipFile(path)


@pytest.fixture
def tutorial_model(tmp_path: Path) -> Path:
    with wheel(*CIFAR_MODEL) as archive:
        return Path(archive.extract("cifar_10_model/trained_models/cnn_model.h5", tmp_path))


@pytest.fixture
def photos() -> list[tuple[Any, str]]:
    """Twenty images of the CIFAR-10 test set with their labels."""
    with wheel(*FOOLBOX) as archive:
        names = [name for name in archive.namelist() if name.startswith("foolbox/data/cifar10_")]
        assert len(names) == 20
        return [
            (
                open_image(archive.read(name), max_pixels=10_000, channels=3),
                LABELS[int(name.removesuffix(".png").rsplit("_", 1)[1])],
            )
            for name in names
        ]


def test_the_cifar_10_model_of_the_tutorials_is_right_about_twenty_of_twenty(
    settings: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: Callable[..., Any],
    tutorial_model: Path,
    photos: list[tuple[Any, str]],
    tmp_path: Path,
) -> None:
    run = new_run(tutorial_model, labels=LABELS)
    output = import_version(run, settings, artifacts, registry, promotions)
    assert output["signature"]["inputs"] == [
        {"name": "image", "kind": "image", "dtype": "float32", "shape": [32, 32, 3]}
    ]
    assert output["warnings"] == ["the last layer ends in relu, so a softmax was added"]
    assert output["parameters"] == {"softmax": True, "expected_range": [0, 255], "form": "h5"}

    version = registry.version(output["id"])
    predictor = load(version, registry.fetch(version, tmp_path / "cache"), settings)
    images = np.stack([image for image, _ in photos]).astype("float32")
    scores = predictor.run({"image": images})["scores"]
    assert [LABELS[best] for best in scores.argmax(axis=1)] == [label for _, label in photos]
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_the_same_model_with_a_scale_it_does_not_want_is_warned_of(
    settings: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: Callable[..., Any],
    tutorial_model: Path,
) -> None:
    run = new_run(tutorial_model, labels=LABELS, scale="1/255")
    output = import_version(run, settings, artifacts, registry, promotions)
    [warning] = [text for text in output["warnings"] if "alike" in text]
    assert "'cat'" in warning and "scale" in warning


def test_labels_that_are_one_too_few_are_refused(
    settings: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: Callable[..., Any],
    tutorial_model: Path,
) -> None:
    with pytest.raises(ImportRefused, match="9 labels were given, but the network answers 10 scores"):
        import_version(new_run(tutorial_model, labels=LABELS[:9]), settings, artifacts, registry, promotions)
