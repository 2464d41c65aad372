"""Makes a version of a trained network: the file, a sample with its answer, and the manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared.datasets.dataset import Dataset
from shared.models.recipes import IMAGE_CLASSIFIER
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import MODEL_FILE, WARMUP_FILE, ModelVersion, iso
from workers.training.setup import Setup

_SCORES_IN_SAMPLE = 10


def publish(
    registry: ModelRegistry,
    destination: tuple[str, str],
    setup: Setup,
    metrics: Mapping[str, Any],
    history: Mapping[str, Any],
    scratch: Path,
) -> ModelVersion:
    """Publishes what a training has made.

    Args:
        registry: Where to.
        destination: Owner and name of the model, which exists.
        setup: The training, with its network trained.
        metrics: Its figures; ``split`` among them names the images that they are of.
        history: Its figures of every epoch.
        scratch: A folder of this machine.
    """
    job, parameters, dataset, network = setup.run.job, setup.parameters, setup.dataset, setup.network
    sample = setup.examples[metrics["split"]].image(0)
    model, warmup = scratch / "model.keras", scratch / "sample.npz"
    network.model.save(model)
    np.savez(warmup, image=sample)
    scores = network.model(sample[np.newaxis], training=False)[0].numpy()
    height, width = network.side
    owner, name = destination
    return registry.publish(
        owner,
        name,
        {MODEL_FILE: model, WARMUP_FILE: warmup},
        created_at=iso(job.created_at),
        source="training",
        job_id=job.id,
        signature=_signature(dataset),
        labels=dataset.labels,
        recipe=f"{IMAGE_CLASSIFIER.model}:{IMAGE_CLASSIFIER.version_id}",
        parameters={
            **parameters.model_dump(),
            "learning_rate": parameters.step_size,
            "image_size": height if height == width else [height, width],
        },
        dataset=dataset.digest,
        metrics=metrics,
        history=history,
        sample=_answer(scores, dataset.labels),
    )


def _signature(dataset: Dataset) -> Signature:
    image = TensorSpec("image", TensorKind.IMAGE, "uint8", (None, None, dataset.channels))
    return Signature((image,), (TensorSpec("scores", TensorKind.CATEGORY, "float32", (len(dataset.labels),)),))


def _answer(scores: Any, labels: tuple[str, ...]) -> dict[str, Any]:
    order = np.argsort(-scores, kind="stable")[:_SCORES_IN_SAMPLE].tolist()
    ranked = [{"label": labels[index], "score": float(scores[index])} for index in order]
    return {**ranked[0], "scores": ranked}
