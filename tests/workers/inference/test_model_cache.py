import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import ModelLoadError, NotFound, Unavailable
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import WARMUP_FILE, ModelVersion
from shared.settings import BatchingSettings, InferenceSettings, Settings
from workers.inference.model_cache import ModelCache, warm_up
from workers.inference.sample import read_sample

GIB = 1 << 30


class Shelf:
    """Versions that exist in memory only, and what was recorded of their loads."""

    def __init__(self) -> None:
        self.known: dict[str, ModelVersion] = {}
        self.events: list[tuple[str, str]] = []
        self.fetched = 0
        self.error: Exception | None = None

    def version(self, version_id: str) -> ModelVersion:
        if version_id not in self.known:
            raise NotFound("There is no such version.")
        return self.known[version_id]

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        self.fetched += 1
        if self.error:
            raise self.error
        return cache

    def record_load(self, version_id: str, event: str, error: str = "") -> None:
        self.events.append((event, error))


@pytest.fixture
def shelf(version_of: Callable[..., ModelVersion], signature_of: Callable[..., Signature]) -> Shelf:
    shelf = Shelf()
    for name in "abc":
        version = version_of(signature_of(x=("tensor", "float32", ())), name=name)
        shelf.known[version.id] = version
    return shelf


@pytest.fixture
def ids(shelf: Shelf) -> list[str]:
    return list(shelf.known)


@pytest.fixture
def cache_of(shelf: Shelf, numpy_model: Any) -> Callable[..., ModelCache]:
    """A cache of models that say they take a gibibyte, with room for two of them."""

    def make(
        function: Callable[..., Any] = lambda x: x, memory_bytes: int = GIB, budget: int = 5 * GIB // 2
    ) -> ModelCache:
        def load(version: ModelVersion, folder: Path, settings: Settings) -> Any:
            return numpy_model(version.signature, function, None, memory_bytes, version.id)

        return ModelCache(Settings(inference=InferenceSettings(memory_budget_bytes=budget)), shelf, load)

    return make


def test_a_version_is_loaded_once_and_then_ready(cache_of, shelf, ids) -> None:
    cache = cache_of()
    assert not cache.holds(ids[0])
    model = cache.get(ids[0])
    assert cache.holds(ids[0])
    assert cache.get(ids[0]) is model
    assert shelf.fetched == 1
    assert shelf.events == [("begun", ""), ("good", "")]


def test_every_allowed_batch_size_is_run_before_a_version_is_ready(cache_of, ids) -> None:
    model = cache_of().get(ids[0])
    assert [len(call["x"]) for call in model.calls] == [1, 2, 4, 8, 16, 32, 64]


def test_the_least_recently_used_makes_room(cache_of, ids) -> None:
    cache = cache_of()
    first = cache.get(ids[0])
    cache.get(ids[1])
    cache.get(ids[0])
    cache.get(ids[2])
    assert cache.versions() == (ids[0], ids[2])
    assert not cache.holds(ids[1])
    assert cache.get(ids[0]) is first


def test_room_is_made_before_the_load_from_the_size_of_the_files(
    cache_of, shelf, version_of, signature_of, ids
) -> None:
    large = version_of(signature_of(x=("tensor", "float32", ())), name="large", file_bytes=GIB)
    shelf.known[large.id] = large
    held: list[tuple[str, ...]] = []
    cache = cache_of(lambda x: held.append(cache.versions()) or x)
    cache.get(ids[0])
    cache.get(large.id)
    assert held[-1] == ()


def test_a_model_in_use_outlives_its_eviction(cache_of, ids) -> None:
    cache = cache_of(budget=3 * GIB // 2)
    used = cache.get(ids[0])
    cache.get(ids[1])
    assert cache.versions() == (ids[1],)
    assert used.run({"x": np.ones(2, np.float32)})["output"].tolist() == [1, 1]


def test_a_version_beyond_the_whole_budget_is_refused(cache_of, shelf, ids) -> None:
    with pytest.raises(ModelLoadError, match="budget") as caught:
        cache_of(budget=GIB // 2).get(ids[0])
    assert caught.value.code == "E1201"
    assert [event for event, _ in shelf.events] == ["begun", "failed"]


def test_many_callers_share_one_load_and_others_do_not_wait_for_it(cache_of, shelf, ids) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(x: np.ndarray) -> np.ndarray:
        if not go_on.is_set() and cache.holds(ids[0]):
            begun.set()
            assert go_on.wait(30)
        return x

    cache = cache_of(slow)
    ready = cache.get(ids[0])
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get(ids[1]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert cache.get(ids[0]) is ready
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8 and len({id(model) for model in found}) == 1
    assert shelf.fetched == 2


def test_a_failing_load_is_recorded_and_tried_again_when_asked_again(cache_of, shelf, ids) -> None:
    def broken(x: np.ndarray) -> np.ndarray:
        if len(shelf.events) < 3:
            raise RuntimeError("no such kernel\nat line 5")
        return x

    cache = cache_of(broken)
    sentence = "the version cannot be loaded (RuntimeError: no such kernel)"
    with pytest.raises(ModelLoadError) as caught:
        cache.get(ids[0])
    assert str(caught.value) == f"E1201: {sentence}"
    assert shelf.events == [("begun", ""), ("failed", sentence)]
    assert not cache.holds(ids[0])
    cache.get(ids[0])
    assert cache.holds(ids[0])


def test_a_version_that_is_gone_is_told_apart(cache_of, shelf) -> None:
    with pytest.raises(ModelLoadError) as caught:
        cache_of().get("f" * 64)
    assert caught.value.code == "E1202"
    assert shelf.events == []


def test_files_that_were_changed_count_as_a_failed_load_but_a_store_that_is_away_does_not(cache_of, shelf, ids) -> None:
    cache = cache_of()
    shelf.error = Unavailable("The store does not answer.")
    with pytest.raises(Unavailable):
        cache.get(ids[0])
    assert shelf.events == []
    shelf.error = ModelLoadError("a file was changed")
    with pytest.raises(ModelLoadError):
        cache.get(ids[0])
    assert shelf.events == [("failed", "a file was changed")]
    shelf.error = None
    assert cache.get(ids[0])


def test_a_model_that_mixes_rows_is_not_served(cache_of, ids) -> None:
    with pytest.raises(ModelLoadError, match="one item for each row"):
        cache_of(lambda x: x.sum(keepdims=True)).get(ids[0])


def test_warming_up_keeps_to_the_limits(numpy_model, signature_of) -> None:
    model = numpy_model(signature_of(x=("tensor", "float64", (10,))), lambda x: x[:, 0])
    warm_up(model, BatchingSettings(max_batch_rows=16, max_decoded_bytes=8 * 80))
    assert [len(call["x"]) for call in model.calls] == [1, 2, 4, 8]
    strings = numpy_model(
        Signature(
            (TensorSpec("x", TensorKind.TEXT, "string", (1,)),), (TensorSpec("y", TensorKind.TENSOR, "int64", ()),)
        ),
        lambda x: np.array([len(text) for text in x[:, 0]]),
    )
    warm_up(strings, BatchingSettings(max_batch_rows=2))
    assert [len(call["x"]) for call in strings.calls] == [1, 2]


def test_axes_of_any_size_are_warmed_up_with_the_smallest_sample_that_the_model_takes(
    numpy_model, signature_of
) -> None:
    def strided(x: np.ndarray) -> np.ndarray:
        if x.shape[1] < 75:
            raise ValueError("too small")
        return x.mean(axis=(1, 2, 3))

    model = numpy_model(signature_of(x=("image", "uint8", (None, None, 3))), strided)
    warm_up(model, BatchingSettings(max_batch_rows=2))
    assert [call["x"].shape for call in model.calls[3:]] == [(1, 128, 128, 3), (1, 128, 128, 3), (2, 128, 128, 3)]


@pytest.fixture
def brought(version_of, signature_of, tmp_path: Path) -> Callable[..., Any]:
    """What is read of the sample that a version brings."""
    signature = signature_of(x=("tensor", "int32", (None, 2)), text=("text", "string", ()))
    version = replace(version_of(signature), files={WARMUP_FILE: {"sha256": "0" * 64, "bytes": 1}})

    def read(most_bytes: int = 10_000, **arrays: Any) -> Any:
        (tmp_path / WARMUP_FILE).parent.mkdir(exist_ok=True)
        np.savez_compressed(tmp_path / WARMUP_FILE, **arrays)
        return read_sample(version, tmp_path, most_bytes)

    return read


def test_a_version_is_warmed_up_with_the_sample_that_it_brings(numpy_model, signature_of, brought) -> None:
    sample = brought(x=[[1, 2], [3, 4], [5, 6]], text=np.array("hello"))
    signature = signature_of(x=("tensor", "int32", (None, 2)), text=("text", "string", ()))
    model = numpy_model(signature, lambda x, text: x.sum(axis=(1, 2)))
    warm_up(model, BatchingSettings(max_batch_rows=4), sample)
    assert [call["x"].shape for call in model.calls] == [(1, 3, 2), (2, 3, 2), (4, 3, 2)]
    assert model.calls[1]["x"][1].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert model.calls[1]["text"].tolist() == ["hello", "hello"] and model.calls[1]["text"].dtype == object


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": [[1, 2]]},
        {"x": [[1, 2, 3]], "text": "a"},
        {"x": [1, 2], "text": "a"},
        {"x": np.array([[{}, {}]]), "text": "a"},
        {"x": np.zeros((100_000, 2), np.int32), "text": "a"},
    ],
    ids=["an input is missing", "another size", "another rank", "pickled objects", "a bomb"],
)
def test_a_sample_that_does_not_fit_is_left_alone(brought, arrays: dict[str, Any]) -> None:
    assert brought(**arrays) is None


def test_a_worker_keeps_no_copy_of_a_version_that_was_deleted(shelf, ids, numpy_model, tmp_path: Path) -> None:
    def load(version: ModelVersion, folder: Path, settings: Settings) -> Any:
        return numpy_model(version.signature, lambda x: x, None, 1, version.id)

    copies = tmp_path / "cache" / "versions"
    for version_id in (*ids, "gone"):
        (copies / version_id).mkdir(parents=True)
    ModelCache(Settings(data_dir=tmp_path), shelf, load).get(ids[0])
    assert {path.name for path in copies.iterdir()} == set(ids)


def test_versions_of_the_registry_are_loaded_with_tensorflow(
    redis: Redis, artifacts: ArtifactStore, settings: Settings, cnn_folder: Path, classifier_signature: Signature
) -> None:
    registry = ModelRegistry(artifacts, redis, settings)
    registry.create_model("test", "cnn")
    version = registry.publish(
        "test",
        "cnn",
        {"model.keras": cnn_folder / "model.keras"},
        created_at="2026-01-01T00:00:00Z",
        source="import",
        job_id="a",
        signature=classifier_signature,
    )
    cache = ModelCache(settings, registry)
    scores = cache.get(version.id).run({"image": np.zeros((2, 32, 32, 3), np.uint8)})["scores"]
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert registry.is_unloadable(version.id) is None
