"""Runs a training from its job to the version that it makes.

An attempt goes on where the last checkpoint was kept. One that follows a death between publishing and the end of the
job finds the version by its job and answers that.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from shared.artifacts import ArtifactStore
from shared.datasets.dataset import Dataset
from shared.datasets.store import DatasetStore
from shared.errors import JobError, ServiceError, TrainingError, Unavailable
from shared.models.recipes import IMAGE_CLASSIFIER, ImageClassifierParameters
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion
from shared.settings import Settings
from workers.examples import Examples, open_examples
from workers.run import Run
from workers.training.batches import Feeder
from workers.training.checkpoints import Arrays, Checkpoints, TrainingState
from workers.training.evaluation import classification_figures
from workers.training.fitting import Fit
from workers.training.publication import publish
from workers.training.recipes.image_classifier import Network, build


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
        with _faults(), _scratch(settings) as scratch:
            registry.ensure_model(owner, name)
            version = registry.version_of_job(owner, name, run.job.id)
            if version is None:
                version = _trained(run, settings, store, registry, datasets, checkpoints, (owner, name), scratch)
    except JobError:
        checkpoints.delete()
        raise
    checkpoints.delete()
    return {"version": f"{version.model}:{version.id}", "weights": "", "metrics": dict(version.metrics)}


def _trained(
    run: Run,
    settings: Settings,
    store: ArtifactStore,
    registry: ModelRegistry,
    datasets: DatasetStore,
    checkpoints: Checkpoints,
    destination: tuple[str, str],
    scratch: Path,
) -> ModelVersion:
    parameters = IMAGE_CLASSIFIER.validate(run.job.input)
    state, arrays = checkpoints.newest(IMAGE_CLASSIFIER.version_id, run.log) or (None, {})
    dataset = datasets.get(parameters.dataset if state is None else state.dataset)
    if state is None:
        state = TrainingState(IMAGE_CLASSIFIER.version_id, dataset.digest, parameters.model_dump())
    examples = open_examples(store, dataset, scratch, run.check)
    _announce(run, dataset, state)
    # Threads must not decide in which order numbers are added, or a resumed training would drift from its twin.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(parameters.seed)
    network = build(parameters, dataset)
    feeder = Feeder(dataset, network)
    try:
        fit = _fit(run, settings, parameters, network, examples, feeder, state, arrays, checkpoints, scratch)
        metrics = _tested(fit, examples, dataset)
    finally:
        feeder.close()
    run.log(f"accuracy {metrics['accuracy']:.4f}, macro F1 {metrics['macro_f1']:.4f} on the {metrics['split']} images")
    run.check()
    sample = examples[metrics["split"]].image(0)
    history = {**fit.state.history, "seconds": round(fit.state.seconds, 3), "best_epoch": fit.state.best_epoch or None}
    return publish(
        registry, destination, run.job, parameters, dataset, network, sample, metrics, history, scratch
    )
