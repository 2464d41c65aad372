"""The product's inference worker with an engine of NumPy that obeys its prompts: ``celery -A stock_worker worker``.

``sleep 2 a`` answers ``A`` after two seconds, ``hold gate a`` once the file ``gate`` is there, ``fail`` fails; any
other prompt is answered in capitals.
"""

import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import workers.tasks.load_version
import workers.tasks.predict as predict_task
from shared.models.version import ModelVersion
from shared.settings import Settings
from workers.celery import app, current_process
from workers.inference.model_cache import ModelCache
from workers.loaded import report_versions_of

__all__ = ["app"]

GATES = Path(os.environ["TESTS_GATES"])
HOLD_SECONDS = 60


class Engine:
    """Answers as the version's name says."""

    memory_bytes = 1

    def __init__(self, version: ModelVersion) -> None:
        self.version_id, self.signature, self.labels = version.id, version.signature, version.labels
        self.name = version.name

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if "image" in inputs:
            means = inputs["image"].reshape(len(inputs["image"]), -1).mean(axis=1) / 255
            return {"scores": np.stack([1 - means, means], axis=1).astype(np.float32)}
        if self.name == "numbers":
            return {"doubled": inputs["x"] * 2}
        texts = [obey(text.decode() if isinstance(text, bytes) else str(text)) for text in inputs["prompt"].tolist()]
        if self.name == "words":
            return {"words": np.array([text.split() for text in texts], dtype=object)}
        return {"text": np.array(texts, dtype=object)}


def obey(prompt: str) -> str:
    command, _, rest = prompt.partition(" ")
    if command == "fail":
        raise ValueError("the prompt asked for it")
    if command == "sleep":
        seconds, _, rest = rest.partition(" ")
        time.sleep(float(seconds))
        prompt = rest
    if command == "hold":
        gate, _, prompt = rest.partition(" ")
        until = time.monotonic() + HOLD_SECONDS
        while not (GATES / gate).exists():
            if time.monotonic() > until:
                raise ValueError(f"nobody opened {gate}")
            time.sleep(0.02)
    return prompt.upper()


@cache
def _cache() -> ModelCache:
    process = current_process()

    def load(version: ModelVersion, folder: Path, settings: Settings) -> Engine:
        return Engine(version)

    models = ModelCache(process.settings, process.registry, load)
    report_versions_of(models.versions)
    return models


predict_task.model_cache = _cache
workers.tasks.load_version.model_cache = _cache
