"""Holds the versions that this process serves, warm, as many as the memory budget allows.

The least recently used makes room first. A version in use outlives its eviction: whoever got it keeps it, and its
memory is free once the last of them lets go.
"""

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import psutil
import structlog
from numpy.typing import NDArray

from shared.errors import ModelLoadError, NotFound, ServiceError, version_gone
from shared.models.copies import prune_copies
from shared.models.signature import Signature
from shared.models.version import ModelVersion
from shared.settings import BatchingSettings, Settings
from workers.inference.sample import read_sample

log = structlog.get_logger(__name__)

#: What a version takes in memory before it was ever loaded, in sizes of its files.
FILES_FACTOR = 2
#: Sizes tried for axes of any size while warming up; a network with many strides needs the larger ones.
SAMPLE_SIZES = (16, 32, 64, 128, 224, 256)


class LoadedModel(Protocol):
    """A version in memory, whatever computes it."""

    version_id: str
    signature: Signature
    labels: Sequence[str] | None
    memory_bytes: int
    """Estimate of the memory that it takes."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Computes all rows at once; arrays by name, rows first."""


class Versions(Protocol):
    """What the cache needs of the registry."""

    def version(self, version_id: str) -> ModelVersion:
        """The version of that id, or ``NotFound``."""

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """A folder with the version's verified files."""

    def record_load(self, version_id: str, event: Literal["begun", "failed", "good"], error: str = "") -> None:
        """Writes down that a load began or how it ended."""


Loader = Callable[[ModelVersion, Path, Settings], LoadedModel]


class ModelCache:
    """The loaded versions of one process.

    Args:
        settings: Give the budget, the batch sizes to warm up and the folder for copies.
        versions: The registry.
        loader: Makes a model out of a version's files; TensorFlow unless given.
    """

    def __init__(self, settings: Settings, versions: Versions, loader: Loader | None = None) -> None:
        self._settings = settings
        self._versions = versions
        self._loader = loader
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._models: OrderedDict[str, tuple[LoadedModel, int]] = OrderedDict()

    def prepare(self) -> None:
        """Starts the engine, so that the first load does not wait for it; called ahead, from another thread."""
        if self._loader is None:
            _tensorflow(self._settings)

    def holds(self, version_id: str) -> bool:
        """Whether the version is ready, so that ``get`` answers at once."""
        return version_id in self._models

    def versions(self) -> tuple[str, ...]:
        """Ids of the versions that are ready, the most recently used last."""
        with self._lock:
            return tuple(self._models)

    def get(self, version_id: str) -> LoadedModel:
        """The version, loaded and warmed up first where it is not ready; loads happen one after another.

        Raises:
            ModelLoadError: E1201 it cannot be loaded or needs more than the budget, E1202 it no longer exists.
        """
        model = self._ready(version_id)
        if model is not None:
            return model
        with self._loading:
            # Somebody else may have loaded it while we waited.
            return self._ready(version_id) or self._load(version_id)

    def _ready(self, version_id: str) -> LoadedModel | None:
        with self._lock:
            if version_id not in self._models:
                return None
            self._models.move_to_end(version_id)
            return self._models[version_id][0]

    def _load(self, version_id: str) -> LoadedModel:
        loader = self._loader or _tensorflow(self._settings)
        version, folder = self._fetched(version_id)
        self._make_room(FILES_FACTOR * sum(facts["bytes"] for facts in version.files.values()))
        self._versions.record_load(version_id, "begun")
        before = _resident_bytes()
        try:
            model = loader(version, folder, self._settings)
            warm_up(
                model,
                self._settings.batching,
                read_sample(version, folder, self._settings.batching.max_decoded_bytes),
            )
            needed = max(model.memory_bytes, _resident_bytes() - before)
            budget = self._settings.inference.memory_budget_bytes
            if needed > budget:
                raise ModelLoadError(
                    f"the version takes {needed} bytes, more than the {budget} of this worker's budget"
                )
        except Exception as error:
            failure = error if isinstance(error, ModelLoadError) else ModelLoadError(_sentence(error))
            self._versions.record_load(version_id, "failed", failure.message)
            raise failure from error
        self._make_room(needed)
        with self._lock:
            self._models[version_id] = (model, needed)
        self._versions.record_load(version_id, "good")
        log.info("version loaded", version=version_id, memory_bytes=needed)
        return model

    def _fetched(self, version_id: str) -> tuple[ModelVersion, Path]:
        try:
            version = self._versions.version(version_id)
        except NotFound as error:
            raise version_gone() from error
        cache = self._settings.data_dir.expanduser() / "cache" / "versions"
        try:
            folder = self._versions.fetch(version, cache)
        except ModelLoadError as error:
            self._versions.record_load(version_id, "failed", error.message)
            raise
        with suppress(ServiceError, OSError):  # another load looks again
            prune_copies(cache, self._settings.artifacts.cache_bytes, self._exists)
        return version, folder

    def _exists(self, version_id: str) -> bool:
        try:
            self._versions.version(version_id)
        except NotFound:
            return False
        return True

    def _make_room(self, needed: int) -> None:
        dropped = False
        with self._lock:
            held = sum(taken for _, taken in self._models.values())
            while self._models and held + needed > self._settings.inference.memory_budget_bytes:
                version_id, (_, taken) = self._models.popitem(last=False)
                held, dropped = held - taken, True
                log.info("version dropped", version=version_id, memory_bytes=taken)
        if dropped:
            gc.collect()  # layers and their graphs refer to each other


def warm_up(model: LoadedModel, batching: BatchingSettings, sample: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Runs every allowed batch size once, so that no caller pays for a first time.

    Args:
        model: What runs.
        batching: The sizes.
        sample: A row that the model takes. Without one zeros stand for it; axes of any size have no size to be right
            for, so they get the smallest that the model takes.

    Raises:
        ModelLoadError: The model does not answer one item for each row.
    """
    if sample is None:
        is_fixed = all(spec.is_fixed for spec in model.signature.inputs)
        zeros = _zeros(model.signature, 1, SAMPLE_SIZES[0] if is_fixed else _least_size(model))
        sample = {name: values[0] for name, values in zeros.items()}
    for size in batching.allowed_batch_sizes:
        inputs = {name: np.stack([row] * size) for name, row in sample.items()}
        if (
            size > batching.max_batch_rows
            or sum(array.nbytes for array in inputs.values()) > batching.max_decoded_bytes
        ):
            break
        for name, values in model.run(inputs).items():
            if values.ndim == 0 or len(values) != size:
                raise ModelLoadError(f"the version's output {name} has not one item for each row")


def _least_size(model: LoadedModel) -> int:
    for size in SAMPLE_SIZES[:-1]:
        try:
            model.run(_zeros(model.signature, 1, size))
        except Exception:
            continue
        return size
    return SAMPLE_SIZES[-1]


def _zeros(signature: Signature, rows: int, length: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for spec in signature.inputs:
        shape = (rows, *(length if axis is None else axis for axis in spec.shape))
        arrays[spec.name] = np.full(shape, "", object) if spec.dtype == "string" else np.zeros(shape, spec.dtype)
    return arrays


def _tensorflow(settings: Settings) -> Loader:
    # Imported here, since a process that is given another engine needs no TensorFlow; started before memory is
    # measured, so that the first version is not charged for the runtime.
    from workers.inference import predictor

    predictor.prepare(settings)
    return predictor.load


def _sentence(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0][:300]
    return f"the version cannot be loaded ({type(error).__name__}{': ' + line if line else ''})"


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
