import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import JobCanceled
from shared.jobs.bells import Bells
from shared.jobs.job import Job, JobKind, JobStatus, new_job_id
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.settings import Settings


class LocalRun:
    """A run of a job in this process, as engines see it; it is canceled at a stage where a test says so."""

    def __init__(self, details: Mapping[str, Any], cancel_at: str = "") -> None:
        self.job = Job(
            id=new_job_id(),
            kind=JobKind.IMPORT,
            account="default",
            key_id="key",
            status=JobStatus.PROCESSING,
            attempt=1,
            queue="import",
            pool="prepare.cpu",
            priority="normal",
            rows=1,
            bytes=0,
            deadline=2e9,
            deadline_by_caller=False,
            created_at=1_750_000_000.0,
            details=details,
        )
        self.stages: list[str] = []
        self.lines: list[str] = []
        self._cancel_at = cancel_at

    def log(self, line: str) -> None:
        self.lines.append(line)

    def report(self, **facts: Any) -> None:
        self.stages.append(facts["stage"])

    def checkpointed(self) -> None:
        return None

    def check(self) -> None:
        if self._cancel_at and self._cancel_at in self.stages:
            raise JobCanceled


def weights(**datasets: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(f"layers/{name}", data=values)
    return buffer.getvalue()


DENSE: Mapping[str, Any] = {
    "module": "keras",
    "class_name": "Sequential",
    "config": {
        "name": "small",
        "layers": [
            {
                "module": "keras.layers",
                "class_name": "InputLayer",
                "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "input_layer"},
                "registered_name": None,
            },
            {
                "module": "keras.layers",
                "class_name": "Dense",
                "config": {"name": "dense", "units": 2, "activation": "softmax"},
                "registered_name": None,
                "build_config": {"input_shape": [None, 4]},
            },
        ],
        "build_input_shape": [None, 4],
    },
    "registered_name": None,
    "build_config": {"input_shape": [None, 4]},
}


@pytest.fixture
def dense_config() -> dict[str, Any]:
    return dict(json.loads(json.dumps(DENSE)))


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Writes a .keras file by hand: a configuration, weights and whatever else a test puts into it."""

    def write(
        config: Mapping[str, Any] | str = DENSE,
        weights_file: bytes | None = None,
        members: Mapping[str | zipfile.ZipInfo, bytes] | None = None,
        compression: int = zipfile.ZIP_STORED,
    ) -> Path:
        path = tmp_path / f"{new_job_id()}.keras"
        if weights_file is None:
            weights_file = weights(**{"dense/vars/0": np.ones((4, 2), "f4"), "dense/vars/1": np.ones(2, "f4")})
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr("metadata.json", json.dumps({"keras_version": "3.12.0", "date_saved": "2025-01-01"}))
            file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
            file.writestr("model.weights.h5", weights_file)
            for name, data in (members or {}).items():
                file.writestr(name, data)
        return path

    return write


@pytest.fixture
def with_layer(dense_config: dict[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The configuration of a small network with one more layer in it."""

    def add(layer: Mapping[str, Any]) -> dict[str, Any]:
        dense_config["config"]["layers"].append(dict(layer))
        return dense_config

    return add


@pytest.fixture
def registry(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> ModelRegistry:
    return ModelRegistry(artifacts, redis, settings)


@pytest.fixture
def promotions(registry: ModelRegistry, redis: Redis, settings: Settings) -> Promotions:
    return Promotions(registry, redis, settings, Bells(redis, settings))


@pytest.fixture
def new_run(artifacts: ArtifactStore) -> Iterator[Callable[..., LocalRun]]:
    """Uploads a file and makes the run of the job that imports it."""

    def make(file: Path, cancel_at: str = "", **details: Any) -> LocalRun:
        upload = f"uploads/{new_job_id()}"
        artifacts.put(file, upload)
        return LocalRun({"owner": "acme", "name": "thing", "upload": upload, **details}, cancel_at)

    yield make
