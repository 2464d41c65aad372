"""Runs a training from its job to the version that it makes.

An attempt goes on where the last checkpoint was kept. One that follows a death between publishing and the end of the
job finds the version by its job and answers that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.errors import JobError, ServiceError, TooManyRequests, TrainingError, Unavailable
from shared.models.recipes import IMAGE_CLASSIFIER
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion
from shared.settings import Settings
from workers.examples import open_examples
from workers.run import Run
from workers.scratch import scratch_folder
from workers.training.batches import Feeder
from workers.training.checkpoints import Arrays, Checkpoints, TrainingState
from workers.training.evaluation import classification_figures
from workers.training.fitting import Fit
from workers.training.publication import publish
from workers.training.recipes.image_classifier import build
from workers.training.setup import Setup


def train(
    run: Run, settings: Settings, store: ArtifactStore, registry: ModelRegistry, datasets: DatasetStore
) -> dict[str, Any]:
    """Runs a job of the kind ``training``.

    Args:
        run: The job; its input holds the recipe's parameters, its details the ``destination``.
        settings: The process's settings.
        store: Where checkpoints and data sets lie.
        registry: Where the version goes.
        datasets: Where the data set is found.

    Returns:
        The job's output, with ``weights`` left empty for the API, which knows the URL.

    Raises:
        TrainingError: The training cannot go on.
    """
    owner, _, name = str(run.job.details["destination"]).partition("/")
    checkpoints = Checkpoints(store, run.job.id)
    try:
        with _faults(), scratch_folder(settings, "training") as scratch:
            version = registry.version_of_job(owner, name, run.job.id)
            if version is None:
                setup, state, arrays = _begin(run, store, datasets, checkpoints, scratch)
                with Feeder(setup) as feeder:
                    fit = Fit(setup, feeder, state, checkpoints, settings.training.checkpoint_seconds, scratch)
                    if arrays:
                        fit.restore(arrays)
                    fit.fit()
                    metrics = _tested(fit, setup)
                run.check()
                registry.ensure_model(owner, name)  # not before: what fails or is canceled leaves no empty model
                version = publish(registry, (owner, name), setup, metrics, _history(fit.state), scratch)
    except JobError:
        checkpoints.delete()
        raise
    checkpoints.delete()
    return _output(version)


def _begin(
    run: Run, store: ArtifactStore, datasets: DatasetStore, checkpoints: Checkpoints, scratch: Path
) -> tuple[Setup, TrainingState, Arrays]:
    parameters = IMAGE_CLASSIFIER.validate(run.job.input)
    state, arrays = checkpoints.newest(IMAGE_CLASSIFIER.version_id, run.log) or (None, {})
    # What the name meant when the job was admitted, whatever it means now.
    admitted = str(run.job.details.get("dataset") or parameters.dataset)
    dataset = datasets.get(admitted if state is None else state.dataset)
    sizes = ", ".join(f"{split.examples} {name}" for name, split in dataset.splits.items())
    if state is None:
        run.log(f"training {IMAGE_CLASSIFIER.model} on {parameters.dataset}: {sizes}, {len(dataset.labels)} classes")
        state = TrainingState(IMAGE_CLASSIFIER.version_id, dataset.digest, parameters.model_dump())
    else:
        run.log(f"going on after epoch {state.epoch}, batch {state.batch} ({sizes})")
    run.report(stage="loading", epoch=state.epoch, epochs=parameters.epochs)
    examples = open_examples(store, dataset, scratch, run.check)
    # Threads must not decide in which order numbers are added, or a resumed training would drift from its twin.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(parameters.seed)
    return Setup(run, parameters, dataset, examples, build(parameters, dataset)), state, arrays


def _tested(fit: Fit, setup: Setup) -> dict[str, Any]:
    # Given splits may leave the test empty; a figure on fewer strangers is better than none, and says what it is on.
    split = next(name for name in ("test", "validation", "train") if len(setup.examples[name]))
    setup.run.report(stage="testing")
    loss, answers = fit.evaluate(split)
    figures = classification_figures(setup.examples[split].labels, answers, setup.dataset.labels)
    setup.run.log(f"accuracy {figures['accuracy']:.4f}, macro F1 {figures['macro_f1']:.4f} on the {split} images")
    return {**figures, "loss": loss, "split": split}


def _history(state: TrainingState) -> dict[str, Any]:
    return {**state.history, "best_epoch": state.best_epoch or state.epoch, "seconds": round(state.seconds, 3)}


def _output(version: ModelVersion) -> dict[str, Any]:
    return {"version": f"{version.model}:{version.id}", "weights": "", "metrics": dict(version.metrics)}


@contextmanager
def _faults() -> Iterator[None]:
    """Turns what may go wrong into the job's own error, or into a reason to try again."""
    try:
        yield
    except (TooManyRequests, Unavailable):
        raise
    except ServiceError as error:
        raise TrainingError(error.detail) from error
    except tf.errors.ResourceExhaustedError as error:
        raise TrainingError("the worker has too little memory; use a smaller batch_size or image_size") from error
    except OSError as error:
        raise Unavailable(f"The worker could not read or write a file: {error.strerror or error}.") from error
