from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.errors import JobReleased
from shared.models.registry import ModelRegistry
from shared.settings import Settings, TrainingSettings
from workers.training.checkpoints import Checkpoints, TrainingState

Engine = Callable[..., dict[str, Any]]
Blobs = Callable[..., str]
MakeRun = Callable[..., Any]

PARAMETERS = {
    "dataset": "blobs",
    "epochs": 3,
    "batch_size": 16,
    "dropout": 0.3,
    "early_stopping": 2,
    "optimizer": "adamw",
    "seed": 5,
}

LOADING = 12
"""Checks before the first step: two for each file of the data set."""


def weights_of(registry: ModelRegistry, settings: Settings, name: str) -> list[np.ndarray]:
    import keras

    version = registry.versions("me", name)[0]
    model = keras.models.load_model(registry.fetch(version, settings.data_dir) / "model.keras", compile=False)
    return [weight.numpy() for weight in model.weights]


def test_a_training_that_was_handed_back_equals_one_that_was_not(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry, settings: Settings
) -> None:
    blobs()
    train(make_run(input=PARAMETERS, destination="me/whole"))
    whole = registry.versions("me", "whole")[0]
    in_an_epoch, in_a_validation, between_epochs = LOADING + 3, LOADING + 7, LOADING + 8
    for name, pattern in (("once", [in_an_epoch]), ("thrice", [in_a_validation, LOADING + 3, between_epochs])):
        run = make_run(input=PARAMETERS, destination=f"me/{name}")
        for check in pattern:
            run = make_run(job=run.job)
            run.release_at = check
            with pytest.raises(JobReleased):
                train(run)
            assert run.checkpoints
        run = make_run(job=run.job)
        train(run)
        assert any("going on after" in line for line in run.lines)
        resumed = registry.versions("me", name)[0]
        assert {**whole.history, "seconds": 0} == {**resumed.history, "seconds": 0}
        assert whole.metrics == resumed.metrics and whole.sample == resumed.sample
        pairs = zip(weights_of(registry, settings, "whole"), weights_of(registry, settings, name), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_worker_that_dies_without_a_word_loses_no_more_than_the_steps_since_its_checkpoint(
    blobs: Blobs, train: Engine, make_run: MakeRun, settings: Settings, artifacts: ArtifactStore, monkeypatch: Any
) -> None:
    blobs()

    class Death(BaseException):
        pass

    often = settings.model_copy(update={"training": TrainingSettings(checkpoint_seconds=1e-6)})
    run = make_run(input=PARAMETERS, destination="me/blobs")

    def die() -> None:
        run.checks += 1
        if run.checks == LOADING + 10:
            raise Death

    monkeypatch.setattr(run, "check", die)
    with pytest.raises(Death):
        train(run, settings=often)
    assert run.checkpoints
    again = make_run(job=run.job)
    train(again)
    # Six steps and a validation were the first epoch; the check at which it died was that before the third step.
    assert any("going on after epoch 1, batch 2 " in line for line in again.lines)


def test_a_name_that_moves_meanwhile_does_not_change_what_is_trained_on(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry, datasets: DatasetStore
) -> None:
    first = blobs()
    run = make_run(input=PARAMETERS, destination="me/blobs")
    run.release_at = LOADING + 2
    with pytest.raises(JobReleased):
        train(run)
    assert blobs(count=60) == datasets.digest("blobs") != first
    train(make_run(job=run.job))
    assert registry.versions("me", "blobs")[0].dataset == first
    admitted = make_run(input=PARAMETERS, destination="me/admitted", dataset=first)
    admitted.release_at = 1
    with pytest.raises(JobReleased):
        train(admitted)
    assert any("96 train" in line for line in admitted.lines)


def test_an_attempt_after_a_death_between_publishing_and_settling_publishes_nothing_new(
    blobs: Blobs, train: Engine, make_run: MakeRun, registry: ModelRegistry
) -> None:
    blobs()
    run = make_run(input=PARAMETERS, destination="me/blobs")
    first = train(run)
    again = make_run(job=run.job)
    assert train(again) == first and again.checks == 0
    assert len(registry.versions("me", "blobs")) == 1


def test_the_newest_whole_checkpoint_counts(artifacts: ArtifactStore, tmp_path: Any) -> None:
    checkpoints, notes = Checkpoints(artifacts, "a1"), []
    assert checkpoints.newest("r", notes.append) is None
    for steps in (5, 10):
        state = TrainingState("r", "d", {}, steps=steps, history={"loss": [1.0]})
        checkpoints.save(state, {"model/0000": np.full(3, steps)}, tmp_path)
        assert len(artifacts.names(checkpoints.folder)) == 1
    found, arrays = checkpoints.newest("r", notes.append)
    assert found == state and arrays["model/0000"].tolist() == [10, 10, 10]
    artifacts.write(f"{checkpoints.folder}/000000000011-000000/arrays.npz", b"its writer died here")
    assert checkpoints.newest("r", notes.append)[0] == state and notes == []
    assert checkpoints.newest("another", notes.append) is None and "another version" in notes[-1]
    name = artifacts.names(checkpoints.folder)[0]
    data = artifacts.read(f"{checkpoints.folder}/{name}/arrays.npz")
    artifacts.write(f"{checkpoints.folder}/{name}/arrays.npz", data[:-1] + b"x")
    assert checkpoints.newest("r", notes.append) is None and "damaged" in notes[-1]
    artifacts.write(f"{checkpoints.folder}/{name}/state.json", b"[]")
    assert checkpoints.newest("r", notes.append) is None
    checkpoints.delete()
    assert artifacts.names("checkpoints") == []
