"""An inference worker on the stage whose engine is NumPy: ``celery -A benchmarks.chaos.numpy_worker worker``.

It computes what the Keras models of ``models`` compute, so that both sorts of worker may answer any job, and it obeys
the second number of a row of ``x``, by which clients make it raise, hang, die, answer NaN or leak.
"""

import io
import os
import time
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos import stage

stage.begin()

import workers.tasks.load_version  # noqa: E402
import workers.tasks.predict as predict_task  # noqa: E402
from benchmarks.chaos.commands import DIE, HANG, LEAK, NAN, RAISE, SLOW  # noqa: E402
from shared.models.version import ModelVersion  # noqa: E402
from shared.settings import Settings  # noqa: E402
from workers.celery import app, current_process  # noqa: E402
from workers.inference.model_cache import ModelCache  # noqa: E402
from workers.loaded import report_versions_of  # noqa: E402

__all__ = ["app"]

_leaked: list[NDArray[Any]] = []


class Engine:
    """One version: ``factor`` times the value, or times the first number of the image."""

    labels = None
    memory_bytes = 1

    def __init__(self, version: ModelVersion, factor: float) -> None:
        self.version_id, self.signature = version.id, version.signature
        self._factor = factor

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Computes a batch, unless a row says otherwise."""
        (rows,) = inputs.values()
        name = self.signature.outputs[0].name
        if rows.ndim == 4:
            return {name: rows[:, 0, 0, :1].astype(np.float32) * self._factor}
        self._log(rows)
        answers = rows[:, :1].astype(np.float32) * self._factor
        for place, command in enumerate(rows[:, 1].astype(int).tolist()):
            if command == RAISE:
                raise ValueError("a row that the model cannot stand")
            if command == HANG:
                time.sleep(600)
            elif command == DIE:
                os._exit(9)
            elif command == NAN:
                answers[place] = np.nan
            elif command == LEAK:
                _leaked.append(np.ones(1 << 20))
                del _leaked[64:]
            elif command == SLOW:
                time.sleep(2.0)
        return {name: answers}

    def _log(self, rows: NDArray[Any]) -> None:
        """Says what begins and when, by the machine's own clock, which is Redis' too."""
        now = time.clock_gettime(time.CLOCK_REALTIME)
        with (stage.FOLDER / "computed.log").open("a") as log:
            log.write("".join(f"{now:.6f} {os.getpid()} {int(value)}\n" for value in rows[:, 0].tolist()))


@cache
def _cache() -> ModelCache:
    process = current_process()

    def load(version: ModelVersion, folder: Path, settings: Settings) -> Engine:
        return Engine(version, _factor(folder / "model.keras"))

    models = ModelCache(process.settings, process.registry, load)
    report_versions_of(models.versions)
    return models


def _factor(path: Path) -> float:
    """The one weight that the models have, out of the file that Keras wrote."""
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights:
        found: list[float] = []
        weights.visititems(
            lambda name, item: found.append(float(np.max(item[()]))) if isinstance(item, h5py.Dataset) else None
        )
    return max(found)


predict_task.model_cache = _cache
workers.tasks.load_version.model_cache = _cache
