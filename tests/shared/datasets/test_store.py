import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.datasets.dataset import Dataset, Report, Shard, Split
from shared.datasets.store import DatasetStore
from shared.errors import InvalidInput, NotFound
from shared.settings import Settings

ONE, TWO = "1" * 64, "2" * 64


def dataset(digest: str = ONE, created_at: str = "2026-01-01T00:00:00.000Z") -> Dataset:
    return Dataset(
        digest=digest,
        labels=("cat", "dog"),
        splits={
            "train": Split((8, 6), (Shard("train-00000", 10), Shard("train-00001", 4))),
            "validation": Split((0, 0), ()),
            "test": Split((2, 1), (Shard("test-00000", 3),)),
        },
        files={"train-00000.npy": {"sha256": "0" * 64, "bytes": 12}},
        channels=3,
        image_shape=(4, 5, 3),
        is_encoded=False,
        seed=7,
        fractions={"train": 0.8, "validation": 0.0, "test": 0.2},
        created_at=created_at,
        report=Report((("a.png", "it is empty"),), 3, 2, 1, 1, ("train",)),
    )


@pytest.fixture
def store(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> DatasetStore:
    return DatasetStore(artifacts, redis, settings)


def test_a_manifest_reads_back_as_it_was() -> None:
    assert Dataset.from_json(json.loads(json.dumps(dataset().to_json()))) == dataset()
    public = dataset().public()
    assert public["classes"] == {"cat": 10, "dog": 7} and public["splits"] == {"train": 14, "validation": 0, "test": 3}
    assert public["unreadable"] == [{"file": "a.png", "reason": "it is empty"}] and public["unreadable_count"] == 3
    assert public["examples"] == 17 and public["bytes"] == 12 and json.dumps(public, allow_nan=False)


def test_a_set_is_found_by_digest_and_by_each_of_its_names(store: DatasetStore) -> None:
    store.publish(dataset())
    assert store.get(ONE).names == ()
    store.name("pets", ONE, "a1")
    store.name("animals", ONE, "a2")
    assert store.get("pets") == store.get(ONE) == dataset() and store.get("pets").names == ("animals", "pets")
    assert store.digest("animals") == store.digest(ONE) == ONE
    for unknown in ("cats", TWO, "../x", "", "Pets"):
        with pytest.raises(NotFound):
            store.get(unknown)
        with pytest.raises(NotFound):
            store.digest(unknown)


def test_a_published_set_never_changes(store: DatasetStore) -> None:
    store.publish(dataset())
    store.publish(replace(dataset(), report=Report()))
    assert store.get(ONE).report.unreadable_count == 3


def test_a_name_moves_and_the_set_that_it_meant_stays(store: DatasetStore) -> None:
    store.publish(dataset())
    store.publish(dataset(TWO, "2026-01-02T00:00:00.000Z"))
    store.name("pets", ONE, "a1")
    store.name("pets", TWO, "a2")
    assert store.digest("pets") == TWO and store.get(ONE).names == ()
    assert [(one.digest, one.names) for one in store.list()] == [(TWO, ("pets",)), (ONE, ())]
    assert store.named_by("pets", "a1") is None and store.named_by("pets", "a2").digest == TWO
    assert store.named_by("nobody", "a1") is None


def test_each_name_of_a_set_has_the_report_of_its_own_upload(store: DatasetStore) -> None:
    store.publish(dataset())
    store.name("pets", ONE, "a1", dataset().report)
    store.name("animals", ONE, "a2", Report((("x.txt", "no image"), ("y.txt", "no image")), 2))
    store.name("beasts", ONE, "a3", Report())
    for found in (store.get("animals"), store.named_by("animals", "a2")):
        assert found is not None
        public = found.public()
        assert public["name"] == "animals" and public["digest"] == ONE and public["unreadable_count"] == 2
        assert [entry["file"] for entry in public["unreadable"]] == ["x.txt", "y.txt"]
    assert store.get(ONE).public()["unreadable_count"] == store.get("pets").report.unreadable_count == 3
    assert [(one.name, one.report.unreadable_count) for one in store.list()] == [
        ("pets", 3),
        ("beasts", 0),
        ("animals", 2),
    ]


def test_a_name_without_a_report_of_its_own_has_that_of_the_set(store: DatasetStore, artifacts: ArtifactStore) -> None:
    store.publish(dataset())
    artifacts.write("datasets/names/pets.json", json.dumps({"name": "pets", "digest": ONE, "job_id": "a1"}).encode())
    assert store.get("pets").report == dataset().report


def test_what_is_no_name_is_refused(store: DatasetStore) -> None:
    for name in ("Pets", "../pets", "", "a/b", "p" * 64):
        with pytest.raises(InvalidInput):
            store.name(name, ONE, "a1")


def test_the_store_is_the_truth_when_redis_has_forgotten(store: DatasetStore, redis: Redis) -> None:
    store.publish(dataset())
    store.name("pets", ONE, "a1")
    redis.flushall()
    assert store.get(ONE).names == ("pets",)
    redis.flushall()
    assert store.digest("pets") == ONE
    redis.hset("headrace:dataset-names", "pets", TWO)
    assert store.digest("pets") == ONE
    redis.hset("headrace:dataset-names", "ghost", ONE)
    store.rebuild()
    assert store.get(ONE).names == ("pets",)


def test_deleting_by_name_keeps_a_set_that_has_another_one(store: DatasetStore, artifacts: ArtifactStore) -> None:
    store.publish(dataset())
    store.name("pets", ONE, "a1")
    store.name("animals", ONE, "a2")
    store.delete("pets")
    assert store.get(ONE).names == ("animals",)
    with pytest.raises(NotFound):
        store.get("pets")
    store.delete("animals")
    assert store.list() == [] and artifacts.names("datasets") == ["names"] and artifacts.names("datasets/names") == []


def test_deleting_by_digest_takes_the_names_and_the_files_along(
    store: DatasetStore, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"pixels")
    store.put_file(ONE, "train-00000.npy", tmp_path / "file")
    store.publish(dataset())
    store.name("pets", ONE, "a1")
    store.name("animals", ONE, "a2")
    store.delete(ONE)
    assert not artifacts.exists(f"datasets/{ONE}") and artifacts.names("datasets/names") == []
    with pytest.raises(NotFound):
        store.delete(ONE)


def test_files_without_a_manifest_are_no_set(store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"pixels")
    store.put_file(ONE, "train-00000.npy", tmp_path / "file")
    assert store.list() == [] and not store.holds(ONE)
    with pytest.raises(NotFound):
        store.get(ONE)
