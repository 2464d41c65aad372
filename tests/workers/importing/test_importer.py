import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.errors import ImportRefused, JobCanceled
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.models.version import MODEL_FILE, WARMUP_FILE
from shared.settings import BatchingSettings, Settings
from workers.importing.importer import import_version, read_options

# Keras 3.15 under NumPy 2, while it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = ["one", "two", "three"]

NewRun = Callable[..., Any]


@pytest.fixture
def few_sizes(settings: Settings) -> Settings:
    batching = BatchingSettings(allowed_batch_sizes=(1, 4), max_batch_rows=4)
    return settings.model_copy(update={"batching": batching})


@pytest.fixture
def network() -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.fixture
def saved(network: Any, tmp_path: Path) -> Path:
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    network.save(tmp_path / "foreign.keras")
    return tmp_path / "foreign.keras"


def test_a_file_becomes_a_version_that_answers_as_its_network(
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    saved: Path,
    network: Any,
    tmp_path: Path,
) -> None:
    run = new_run(saved, labels=LABELS, scale="1/255", alias="production")
    output = import_version(run, few_sizes, artifacts, registry, promotions)
    version = registry.version(output["id"])
    assert output["version"] == f"acme/thing:{version.id}" and output["labels"] == LABELS
    assert output["alias"] == {"alias": "production", "state": "flipped"}
    assert registry.resolve("acme", "thing") == version.id
    assert version.source == "import" and version.job_id == run.job.id
    assert version.parameters == {
        "scale": 1 / 255,
        "softmax": True,
        "expected_range": [0, 255],
        "network_range": [0.0, 1.0],
        "form": "keras",
    }
    assert {score["label"] for score in output["sample"]["scores"]} == set(LABELS)
    assert output["sample"]["label"] == output["sample"]["scores"][0]["label"]
    assert run.stages[0] == "fetching" and "loading" in run.stages and run.stages[-1] == "publishing"
    assert not artifacts.exists(run.job.details["upload"])

    folder = registry.fetch(version, tmp_path / "cache")
    served = keras.saving.load_model(folder / MODEL_FILE, compile=False, safe_mode=True)
    row = np.load(folder / WARMUP_FILE)["image"][np.newaxis]
    expected = np.asarray(keras.ops.softmax(network(row / 255, training=False)))
    assert np.allclose(np.asarray(served(row)), expected, atol=1e-5)
    assert output["sample"]["score"] == pytest.approx(expected.max(), abs=1e-5)

    again = import_version(run, few_sizes, artifacts, registry, promotions)
    assert again == output and len(registry.versions("acme", "thing")) == 1
    assert len(registry.alias_history("acme", "thing", "production")) == 1

    other = import_version(new_run(saved, labels=LABELS, scale="1/255"), few_sizes, artifacts, registry, promotions)
    assert other["id"] != output["id"] and other["alias"] is None
    assert dict(registry.version(other["id"]).files) == dict(version.files)


def test_a_file_becomes_a_version_that_iterates_where_that_is_asked(
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    saved: Path,
) -> None:
    output = import_version(new_run(saved, labels=LABELS, iterator=True), few_sizes, artifacts, registry, promotions)
    registry.forget()
    assert registry.version(output["id"]).signature.iterates and output["signature"]["iterates"] is True
    (sample,) = output["sample"]
    assert sample["label"] in LABELS


def test_a_legacy_file_is_converted_and_never_served(
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    network: Any,
    tmp_path: Path,
) -> None:
    network.save(tmp_path / "foreign.h5")
    output = import_version(new_run(tmp_path / "foreign.h5"), few_sizes, artifacts, registry, promotions)
    version = registry.version(output["id"])
    assert set(version.files) == {MODEL_FILE, WARMUP_FILE} and version.parameters["form"] == "h5"
    stored = artifacts.read(f"models/acme/thing/versions/{version.id}/{MODEL_FILE}")
    assert "config.json" in zipfile.ZipFile(io.BytesIO(stored)).namelist()
    assert version.labels is None and not version.signature.is_classifier


def test_a_refused_file_publishes_nothing_and_is_not_kept(
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    archive: Callable[..., Path],
) -> None:
    run = new_run(archive(members={"evil.py": b"x"}))
    with pytest.raises(ImportRefused, match="evil.py"):
        import_version(run, few_sizes, artifacts, registry, promotions)
    assert not registry.versions("acme", "thing") and not registry.list_models()
    assert not artifacts.exists(run.job.details["upload"])


def test_a_canceled_import_publishes_nothing(
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    saved: Path,
) -> None:
    with pytest.raises(JobCanceled):
        import_version(new_run(saved, cancel_at="loading"), few_sizes, artifacts, registry, promotions)
    assert not registry.versions("acme", "thing") and not registry.list_models()


def test_an_upload_that_is_gone_says_so(
    settings: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    archive: Callable[..., Path],
) -> None:
    run = new_run(archive())
    artifacts.delete(run.job.details["upload"])
    with pytest.raises(ImportRefused, match="send it again"):
        import_version(run, settings, artifacts, registry, promotions)


@pytest.mark.parametrize(
    ("given", "meant"), [("1/255", 1 / 255), (0.5, 0.5), (" 2 ", 2.0), ("1e-2", 0.01), (None, None)]
)
def test_a_scale_may_be_a_fraction(given: Any, meant: float | None) -> None:
    assert read_options({"scale": given})["scale"] == meant


def test_mean_and_std_may_be_texts_or_lists() -> None:
    options = read_options({"mean": "0.5, 0.4,0.3", "std": [0.2, "1/4", 1]})
    assert options["mean"] == [0.5, 0.4, 0.3] and options["std"] == [0.2, 0.25, 1.0]


@pytest.mark.parametrize(
    "details",
    [
        {"scale": "255/"},
        {"scale": "1/0"},
        {"scale": "0"},
        {"scale": "__import__('os')"},
        {"scale": "nan"},
        {"std": "0"},
        {"mean": "a,b"},
        {"labels": ["one"]},
        {"labels": ["one", "one"]},
        {"labels": ["one", ""]},
    ],
)
def test_options_that_cannot_be_meant_are_refused(details: dict[str, Any]) -> None:
    with pytest.raises(ImportRefused):
        read_options(details)


@pytest.mark.parametrize("is_in_weights", [True, False], ids=["weights", "answers"])
def test_a_network_that_needs_too_much_memory_is_refused_in_words_for_people(
    is_in_weights: bool,
    few_sizes: Settings,
    artifacts: ArtifactStore,
    registry: ModelRegistry,
    promotions: Promotions,
    new_run: NewRun,
    archive: Callable[..., Path],
    dense_config: dict[str, Any],
) -> None:
    layers = dense_config["config"]["layers"]
    if is_in_weights:
        layers[1]["config"]["units"] = 2_000_000_000
    else:
        config = {"name": "repeat", "n": 2_000_000_000}
        layers.append({"module": "keras.layers", "class_name": "RepeatVector", "config": config})
    limits = few_sizes.imports.model_copy(update={"memory_bytes": 12_000_000_000})
    small = few_sizes.model_copy(update={"imports": limits})
    with pytest.raises(ImportRefused) as caught:
        import_version(new_run(archive(dense_config)), small, artifacts, registry, promotions)
    assert caught.value.code == "E1502"
    assert caught.value.message == (
        "the network needs more memory than the limit of 12000000000 bytes allows (imports.memory_bytes)"
    )
