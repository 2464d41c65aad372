import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.errors import JobCanceled, JobReleased, TrainingError
from shared.models.recipes import IMAGE_CLASSIFIER
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from workers.training.checkpoints import Checkpoints

Engine = Callable[..., dict[str, Any]]
Blobs = Callable[..., str]
MakeRun = Callable[..., Any]

STOCK_PROGRESS = re.compile(r"^\s*(?P<percentage>\d+)%\s*\|.+?\|\s*(?P<current>\d+)\/(?P<total>\d+)")
"""How the replicate package reads progress out of a job's logs."""


def test_a_training_publishes_a_version_with_all_that_is_known_of_it(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    import keras

    digest = blobs()
    parameters = {"dataset": "blobs", "epochs": 6, "batch_size": 16, "learning_rate": 0.003}
    run = make_run(input=parameters, destination="me/blobs")
    output = train(run)

    version = registry.versions("me", "blobs")[0]
    assert output == {"version": f"me/blobs:{version.id}", "weights": "", "metrics": dict(version.metrics)}
    assert version.metrics["accuracy"] >= 0.9 and version.metrics["macro_f1"] >= 0.9
    assert np.sum(version.metrics["confusion_matrix"]) == version.metrics["examples"] == 12
    assert version.metrics["split"] == "test"
    assert version.labels == ("bird", "cat", "dog") and version.dataset == digest and version.source == "training"
    assert version.job_id == run.job.id and version.recipe == f"headrace/image-classifier:{IMAGE_CLASSIFIER.version_id}"
    assert version.parameters["optimizer"] == "adam" and version.parameters["image_size"] == 16
    assert len(version.history["loss"]) == len(version.history["val_accuracy"]) == 6
    assert version.history["loss"][-1] < version.history["loss"][0]
    assert version.signature.to_json() == {
        "inputs": [{"name": "image", "kind": "image", "dtype": "uint8", "shape": [None, None, 1]}],
        "outputs": [{"name": "scores", "kind": "category", "dtype": "float32", "shape": [3]}],
    }
    assert not artifacts.exists(f"checkpoints/{run.job.id}")

    folder = registry.fetch(version, tmp_path / "cache")
    model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    assert model.layers[-1].activation is keras.activations.softmax
    sample = np.load(folder / "warmup" / "sample.npz")["image"]
    scores = np.asarray(model(sample[np.newaxis]))[0]
    assert version.labels[int(scores.argmax())] == version.sample["label"]
    assert version.sample["score"] == pytest.approx(float(scores.max()), abs=1e-5)
    assert np.asarray(model(np.zeros((2, 40, 31, 1), np.uint8))).shape == (2, 3)


def test_progress_is_told_in_events_and_in_lines_that_stock_clients_read(
    blobs: Blobs, train: Engine, make_run: MakeRun
) -> None:
    blobs()
    run = make_run(input={"dataset": "blobs", "epochs": 2, "batch_size": 16}, destination="me/blobs")
    train(run)
    last = [facts for facts in run.facts if "epoch" in facts][-1]
    assert {"epoch": 2, "epochs": 2, "step": 12, "steps": 12}.items() <= last.items()
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "eta_seconds", "examples_per_second"} <= last.keys()
    steps = [int(match["current"]) for match in map(STOCK_PROGRESS.match, run.lines) if match]
    assert steps == sorted(steps) and steps[-1] == 12
    assert run.checkpoints == 2


def test_a_cancel_ends_a_training_within_a_step_and_publishes_nothing(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry
) -> None:
    blobs()
    run = make_run(input={"dataset": "blobs", "epochs": 50, "batch_size": 16}, destination="me/blobs")
    run.cancel_at = 40
    with pytest.raises(JobCanceled):
        train(run)
    assert run.checks == 40 and run.facts[-1]["step"] < 40
    assert registry.versions("me", "blobs") == [] and registry.list_models() == []


@pytest.mark.parametrize("side", [16, 70])
def test_images_of_different_sizes_are_trained_on_as_they_will_be_served(
    side: int, train: Engine, make_run: MakeRun, registry: ModelRegistry, artifacts: ArtifactStore,
    datasets: DatasetStore, settings: Settings,
) -> None:  # fmt: skip
    import zipfile

    from workers.datasets import prepare

    random = np.random.default_rng(0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(40):
            height, width = random.integers(side, side + 9, 2)
            pixels = random.integers(0, 100, (height, width, 3), dtype=np.uint8)
            pixels[: height // 2] += np.uint8(150 * (index % 2))
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            archive.writestr(f"{('low', 'high')[index % 2]}/{index}.png", png.getvalue())
    artifacts.write("uploads/ragged", file.getvalue())
    prepare(make_run("dataset", name="ragged", upload="uploads/ragged"), settings, artifacts, datasets)
    train(make_run(input={"dataset": "ragged", "epochs": 4, "batch_size": 8}, destination="me/ragged"))
    version = registry.versions("me", "ragged")[0]
    assert version.parameters["image_size"] == 64 and version.metrics["accuracy"] == 1.0


def test_a_loss_that_is_no_number_is_a_sentence(
    blobs: Blobs, train: Engine, make_run: MakeRun, artifacts: ArtifactStore, registry: ModelRegistry, tmp_path: Path
) -> None:
    blobs()
    run = make_run(input={"dataset": "blobs", "optimizer": "sgd", "learning_rate": 10.0}, destination="me/blobs")
    run.release_at = 15
    with pytest.raises(JobReleased):
        train(run)
    checkpoints = Checkpoints(artifacts, run.job.id)
    state, arrays = checkpoints.newest(IMAGE_CLASSIFIER.version_id, run.log)
    arrays = {name: values * np.nan if values.dtype.kind == "f" else values for name, values in arrays.items()}
    checkpoints.save(state, arrays, tmp_path)
    run = make_run(job=run.job)
    with pytest.raises(TrainingError, match="no longer a number.*learning_rate below 10"):
        train(run)
    assert not artifacts.exists(f"checkpoints/{run.job.id}") and registry.versions("me", "blobs") == []
    assert all(not isinstance(value, float) or math.isfinite(value) for facts in run.facts for value in facts.values())


def test_early_stopping_keeps_the_best_epoch(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry
) -> None:
    blobs()
    parameters = {"dataset": "blobs", "epochs": 60, "batch_size": 32, "learning_rate": 0.05, "early_stopping": 2}
    train(make_run(input=parameters, destination="me/blobs"))
    history = registry.versions("me", "blobs")[0].history
    assert len(history["val_loss"]) < 60
    assert history["best_epoch"] == int(np.argmin(history["val_loss"])) + 1 == len(history["val_loss"]) - 2


@pytest.mark.parametrize(
    ("parameters", "destination", "words"),
    [
        ({"dataset": "nothing"}, "me/blobs", "no data set nothing"),
        ({"dataset": "blobs", "epochs": 0}, "me/blobs", "input.epochs"),
        ({"dataset": "blobs"}, "headrace/blobs", "reserved"),
        ({"dataset": "blobs"}, "Me/blobs", "not a name"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(
    parameters: dict, destination: str, words: str, blobs: Blobs, train: Engine, make_run: MakeRun
) -> None:
    blobs()
    with pytest.raises(TrainingError, match=words):
        train(make_run(input=parameters, destination=destination))


def test_a_data_set_that_was_changed_is_not_trained_on(
    blobs: Blobs, train: Engine, make_run: MakeRun, artifacts: ArtifactStore
) -> None:
    digest = blobs()
    artifacts.write(f"datasets/{digest}/train-00000.npy", b"other")
    with pytest.raises(Exception, match="was changed"):
        train(make_run(input={"dataset": "blobs"}, destination="me/blobs"))
