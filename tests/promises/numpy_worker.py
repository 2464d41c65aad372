"""An inference worker whose engine is NumPy and obeys its input: ``celery -A numpy_worker worker``.

It is the product's worker in all but the model: only the loader of its model cache is another one.
"""

import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import workers.tasks.load_version
import workers.tasks.predict as predict_task
from shared.models.version import ModelVersion
from shared.settings import Settings
from workers.celery import app, current_process
from workers.inference.model_cache import ModelCache
from workers.loaded import report_versions_of

__all__ = ["app"]

SIGNALS = Path(os.environ["TESTS_SIGNALS"])
PLAIN, HOLD, DIE, HANG, RAISE, STOP = range(6)


class Engine:
    """Doubles numbers."""

    labels = None
    memory_bytes = 1

    def __init__(self, version: ModelVersion) -> None:
        self.version_id, self.signature = version.id, version.signature
        pause = SIGNALS / f"pause-{version.id}"
        self._pause = float(pause.read_text()) if pause.exists() else 0.0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        rows = inputs["x"]
        with (SIGNALS / "computed").open("a") as log:
            log.write("".join(f"{value} {command} {len(rows)}\n" for value, command in rows.tolist()))
        if self._pause and rows.any():  # a warm-up is all zeros
            values = " ".join(str(value) for value, _ in rows.tolist())
            with (SIGNALS / "batches").open("a") as log:
                log.write(f"{self.version_id} {values}\n")
            time.sleep(self._pause)
        for value, command in rows.tolist():
            if command == HOLD:
                (SIGNALS / f"holding-{value}").touch()
                while not (SIGNALS / "go").exists():
                    time.sleep(0.01)
            elif command == DIE:
                (SIGNALS / f"died-{value}-{time.time_ns()}").touch()
                os._exit(9)
            elif command == HANG:
                (SIGNALS / f"hung-{value}-{time.time_ns()}").touch()
                time.sleep(600)
            elif command == RAISE:
                raise ValueError(f"row {value} is bad")
        return {"y": rows[:, :1] * 2}


@cache
def _cache() -> ModelCache:
    process = current_process()

    def load(version: ModelVersion, folder: Path, settings: Settings) -> Engine:
        if (SIGNALS / f"broken-{version.id}").exists():
            (SIGNALS / f"failed-{version.id}-{time.time_ns()}").touch()
            raise ValueError("the file is broken")
        if (SIGNALS / f"slow-load-{version.id}").exists():
            (SIGNALS / f"loading-{version.id}-{os.getpid()}").touch()
            time.sleep(float((SIGNALS / f"slow-load-{version.id}").read_text()))
        (SIGNALS / f"loaded-{version.id}-{os.getpid()}").touch()
        return Engine(version)

    models = ModelCache(process.settings, process.registry, load)
    report_versions_of(models.versions)
    return models


predict_task.model_cache = _cache
workers.tasks.load_version.model_cache = _cache
