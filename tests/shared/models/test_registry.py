import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import Conflict, Forbidden, InvalidInput, ModelLoadError, NotFound, Unavailable
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature
from shared.models.version import ModelVersion
from shared.settings import Settings

Publish = Callable[..., ModelVersion]


@pytest.fixture
def elsewhere(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> ModelRegistry:
    """The registry as another process sees it."""
    return ModelRegistry(artifacts, redis, settings)


def test_a_model_is_made_once(registry: ModelRegistry) -> None:
    model = registry.create_model("acme", "thing", "It sees.", "public", github_url="https://github.com/acme/thing")
    assert registry.get_model("acme", "thing") == model == registry.ensure_model("acme", "thing")
    assert (model.description, model.visibility) == ("It sees.", "public")
    with pytest.raises(Conflict, match="acme/thing already"):
        registry.create_model("acme", "thing")


@pytest.mark.parametrize(("owner", "name"), [("Acme", "thing"), ("acme", "../thing"), ("", "thing"), ("acme", "a/b")])
def test_texts_that_are_no_names_make_no_model(registry: ModelRegistry, owner: str, name: str) -> None:
    with pytest.raises(InvalidInput):
        registry.create_model(owner, name)


def test_the_reserved_owner_is_nobodys(registry: ModelRegistry) -> None:
    with pytest.raises(Forbidden, match="reserved"):
        registry.ensure_model("headrace", "mine")


def test_models_are_listed_newest_first(registry: ModelRegistry) -> None:
    for name in ("one", "two", "three"):
        registry.create_model("acme", name)
    created = [model.created_at for model in registry.list_models()]
    assert len(created) == 3 and created == sorted(created, reverse=True)


def test_a_version_is_published_once_however_often(
    registry: ModelRegistry, publish: Publish, artifacts: ArtifactStore
) -> None:
    version = publish()
    assert publish() == version and registry.versions("acme", "thing") == [version]
    assert registry.version(version.id) == version
    assert artifacts.read(f"models/acme/thing/versions/{version.id}/model.keras") == b"network"
    assert registry.version_of_job("acme", "thing", "a1") == version
    assert registry.version_of_job("acme", "thing", "a2") is None


def test_a_version_without_its_manifest_is_none(
    registry: ModelRegistry, publish: Publish, artifacts: ArtifactStore, elsewhere: ModelRegistry
) -> None:
    version = publish()
    artifacts.delete(f"models/acme/thing/versions/{version.id}/version.json")
    assert elsewhere.versions("acme", "thing") == []
    with pytest.raises(NotFound):
        elsewhere.version(version.id)
    assert publish() == version and elsewhere.versions("acme", "thing") == [version]


def test_the_manifest_is_written_last(
    registry: ModelRegistry, signature: Signature, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    registry.create_model("acme", "thing")
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    files = {"model.keras": tmp_path / "a", "warmup/b": tmp_path / "b"}
    fields = {"created_at": "", "source": "import", "job_id": "a1", "signature": signature}
    version = registry.publish("acme", "thing", files, **fields)
    folder = f"models/acme/thing/versions/{version.id}"
    artifacts.delete(folder)
    artifacts.write(f"{folder}/warmup", b"in the way of the second file")
    with pytest.raises(Unavailable):
        registry.publish("acme", "thing", files, **fields)
    assert artifacts.names(folder) == ["model.keras", "warmup"] and registry.versions("acme", "thing") == []


def test_equal_files_under_two_names_are_two_versions(registry: ModelRegistry, publish: Publish) -> None:
    assert publish().id != publish(name="other").id


def test_versions_are_listed_newest_first(registry: ModelRegistry, publish: Publish) -> None:
    old = publish(created_at="2026-01-01T00:00:00.000Z")
    new = publish(created_at="2026-02-01T00:00:00.000Z")
    assert registry.versions("acme", "thing") == [new, old]


@pytest.mark.parametrize("version_id", ["0" * 64, "complete", "../../x", ""])
def test_an_unknown_version_is_not_found(registry: ModelRegistry, version_id: str) -> None:
    with pytest.raises(NotFound):
        registry.version(version_id)


def test_a_changed_manifest_is_not_believed(
    publish: Publish, artifacts: ArtifactStore, elsewhere: ModelRegistry
) -> None:
    version = publish()
    path = f"models/acme/thing/versions/{version.id}/version.json"
    artifacts.write(path, json.dumps({**version.to_json(), "labels": ["yes", "no"]}).encode())
    with pytest.raises(Unavailable, match="was changed"):
        elsewhere.version(version.id)


def test_an_alias_follows_its_newest_move(registry: ModelRegistry, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    registry.move_alias("acme", "thing", "production", one.id, "ada", "first")
    registry.move_alias("acme", "thing", "candidate", two.id, "ada")
    registry.move_alias("acme", "thing", "production", two.id, "bob", "better")
    assert registry.resolve("acme", "thing") == two.id
    assert registry.aliases("acme", "thing") == {"candidate": two.id, "production": two.id}
    history = registry.alias_history("acme", "thing", "production")
    assert [(move.version, move.by, move.reason) for move in history] == [
        (two.id, "bob", "better"),
        (one.id, "ada", "first"),
    ]
    assert history[0].sequence > history[1].sequence
    assert len(registry.alias_history("acme", "thing")) == 3


def test_a_model_without_a_version_says_what_to_do(registry: ModelRegistry) -> None:
    registry.create_model("acme", "thing")
    with pytest.raises(NotFound, match="headrace models promote acme/thing VERSION --alias production"):
        registry.resolve("acme", "thing")
    with pytest.raises(NotFound, match="no model acme/other"):
        registry.resolve("acme", "other")


def test_an_alias_points_to_versions_of_its_own_model_only(registry: ModelRegistry, publish: Publish) -> None:
    foreign = publish(name="other")
    publish()
    for version_id in (foreign.id, "0" * 64, "nonsense"):
        with pytest.raises(NotFound):
            registry.move_alias("acme", "thing", "production", version_id, "ada")
    with pytest.raises(InvalidInput):
        registry.move_alias("acme", "thing", "No Name", foreign.id, "ada")


def test_the_version_before_is_the_last_other_one_that_still_exists(registry: ModelRegistry, publish: Publish) -> None:
    one, two, three = publish("one"), publish("two"), publish("three")
    for version in (one, two, three, three):
        registry.move_alias("acme", "thing", "production", version.id, "ada")
    assert registry.previous("acme", "thing", "production") == two.id
    registry.delete_version("acme", "thing", two.id)
    assert registry.previous("acme", "thing", "production") == one.id
    registry.delete_version("acme", "thing", one.id)
    with pytest.raises(Conflict, match="no earlier version"):
        registry.previous("acme", "thing", "production")


def test_a_version_that_serves_is_not_deleted(
    registry: ModelRegistry, publish: Publish, artifacts: ArtifactStore
) -> None:
    one, two = publish("one"), publish("two")
    registry.move_alias("acme", "thing", "production", one.id, "ada")
    with pytest.raises(Conflict, match="serves as production of acme/thing"):
        registry.delete_version("acme", "thing", one.id)
    registry.move_alias("acme", "thing", "production", two.id, "ada")
    registry.delete_version("acme", "thing", one.id)
    assert registry.versions("acme", "thing") == [two]
    assert not artifacts.exists(f"models/acme/thing/versions/{one.id}")
    with pytest.raises(NotFound):
        registry.version(one.id)
    with pytest.raises(NotFound):
        registry.delete_version("acme", "thing", one.id)
    with pytest.raises(NotFound):
        registry.move_alias("acme", "thing", "production", one.id, "ada")


def test_another_process_hears_of_a_deletion_when_it_forgets(
    registry: ModelRegistry, publish: Publish, elsewhere: ModelRegistry, redis: Redis
) -> None:
    version = publish()
    assert elsewhere.version(version.id) == version
    with redis.pubsub(ignore_subscribe_messages=True) as changes:
        changes.subscribe("headrace:changed")
        changes.get_message(timeout=5)
        registry.delete_version("acme", "thing", version.id)
        message = changes.get_message(timeout=5)
    assert message is not None and message["data"] == b"models"
    elsewhere.forget()
    with pytest.raises(NotFound):
        elsewhere.version(version.id)


def test_a_model_is_deleted_with_all_it_has(
    registry: ModelRegistry, publish: Publish, artifacts: ArtifactStore
) -> None:
    version = publish()
    registry.move_alias("acme", "thing", "production", version.id, "ada")
    assert registry.delete_model("acme", "thing") == [version.id]
    assert artifacts.names("models/acme") == [] and registry.list_models() == []
    for look in (lambda: registry.version(version.id), lambda: registry.resolve("acme", "thing")):
        with pytest.raises(NotFound):
            look()
    registry.create_model("acme", "thing")
    assert registry.aliases("acme", "thing") == {} and registry.versions("acme", "thing") == []


def test_a_redis_that_lost_everything_learns_it_again_from_the_store(
    registry: ModelRegistry, publish: Publish, redis: Redis, elsewhere: ModelRegistry
) -> None:
    one, two = publish("one"), publish("two")
    registry.move_alias("acme", "thing", "production", one.id, "ada")
    registry.move_alias("acme", "thing", "production", two.id, "ada")
    redis.flushall()
    assert elsewhere.resolve("acme", "thing") == two.id
    assert elsewhere.version(one.id) == one and len(elsewhere.list_models()) == 1
    move = elsewhere.move_alias("acme", "thing", "production", one.id, "ada")
    assert [entry.version for entry in elsewhere.alias_history("acme", "thing")] == [one.id, two.id, one.id]
    assert move.sequence == 3


def test_a_counter_that_fell_behind_overwrites_no_move(registry: ModelRegistry, publish: Publish, redis: Redis) -> None:
    one, two = publish("one"), publish("two")
    for version in (one, two, one):
        registry.move_alias("acme", "thing", "production", version.id, "ada")
    redis.set("headrace:alias-sequence", 1)
    registry.move_alias("acme", "thing", "production", two.id, "ada")
    assert registry.resolve("acme", "thing") == two.id
    assert [move.sequence for move in registry.alias_history("acme", "thing")] == [4, 3, 2, 1]


def test_the_index_of_a_redis_that_lost_its_last_second_is_put_right(
    registry: ModelRegistry, publish: Publish, redis: Redis
) -> None:
    one, two = publish("one"), publish("two")
    registry.move_alias("acme", "thing", "production", one.id, "ada")
    before = redis.hgetall("headrace:aliases:acme/thing")
    registry.move_alias("acme", "thing", "production", two.id, "ada")
    redis.hset("headrace:aliases:acme/thing", mapping=before)
    redis.hdel("headrace:versions", two.id)
    registry.rebuild()
    assert registry.resolve("acme", "thing") == two.id and registry.version(two.id) == two


def test_files_of_a_local_store_are_not_copied(registry: ModelRegistry, publish: Publish, tmp_path: Path) -> None:
    folder = registry.fetch(publish(), tmp_path / "cache")
    assert (folder / "model.keras").read_text() == "network" and not (tmp_path / "cache").exists()


def test_a_changed_or_missing_file_is_not_loaded(
    registry: ModelRegistry, publish: Publish, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    version = publish()
    path = f"models/acme/thing/versions/{version.id}/model.keras"
    artifacts.write(path, b"evil")
    with pytest.raises(ModelLoadError, match="E1201: .*changed after it was published"):
        registry.fetch(version, tmp_path / "cache")
    artifacts.delete(path)
    with pytest.raises(ModelLoadError, match="E1202: .*gone"):
        registry.fetch(version, tmp_path / "cache")


@pytest.fixture
def distant(artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ArtifactStore]]:
    """Puts a version into a store that is elsewhere."""
    monkeypatch.setattr("shared.models.files.DAMAGED_PAUSES", (0.0, 0.0))
    store = ArtifactStore("memory://headrace-tests")

    def copy(version_id: str) -> ArtifactStore:
        for path in ("model.json", f"versions/{version_id}/version.json", f"versions/{version_id}/model.keras"):
            store.write(f"models/acme/thing/{path}", artifacts.read(f"models/acme/thing/{path}"))
        return store

    yield copy
    store.delete("models")


def test_a_file_that_a_distant_store_cuts_off_is_copied_again(
    redis: Redis, settings: Settings, tmp_path: Path, publish: Publish, distant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish()
    registry = ModelRegistry(distant(version.id), redis, settings)
    real, copies = ArtifactStore.get, []

    def half(store: ArtifactStore, path: str, local: Path) -> None:
        real(store, path, local)
        copies.append(path)
        if len(copies) <= cut:
            local.write_bytes(local.read_bytes()[:3])

    monkeypatch.setattr(ArtifactStore, "get", half)
    cut = 2
    assert (registry.fetch(version, tmp_path / "cache") / "model.keras").read_text() == "network"
    assert len(copies) == 3
    shutil.rmtree(tmp_path / "cache")
    cut = 99
    with pytest.raises(ModelLoadError, match="changed"):
        registry.fetch(version, tmp_path / "cache")


def test_files_of_a_distant_store_are_copied_once_and_verified_each_time(
    redis: Redis, settings: Settings, tmp_path: Path, publish: Publish, distant: Any
) -> None:
    version = publish()
    store = distant(version.id)
    registry = ModelRegistry(store, redis, settings)
    folder = registry.fetch(version, tmp_path / "cache")
    assert (folder / "model.keras").read_text() == "network"
    (folder / "model.keras").write_text("evil")
    assert (registry.fetch(version, tmp_path / "cache") / "model.keras").read_text() == "network"
    store.write(f"models/acme/thing/versions/{version.id}/model.keras", b"evil")
    assert registry.fetch(version, tmp_path / "cache") == folder
    (folder / "model.keras").write_text("evil")
    with pytest.raises(ModelLoadError, match="changed"):
        registry.fetch(version, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
