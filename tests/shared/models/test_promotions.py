import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.connections import Redis
from shared.errors import Conflict, InvalidInput, NotFound
from shared.heartbeats import Heartbeats
from shared.jobs.bells import Bells
from shared.models import promotions as module
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion
from shared.settings import Settings

Publish = Callable[..., ModelVersion]
Alive = Callable[..., None]


def asked(redis: Redis, worker: str) -> list[str]:
    """The versions that a worker was asked to load, by the messages in its Celery queue, oldest first."""
    messages: list[Any] = redis.lrange(f"headrace:celery:worker.{worker}", 0, -1)
    bodies = [json.loads(base64.b64decode(json.loads(message)["body"])) for message in reversed(messages)]
    return [arguments["version"] for _, arguments, _ in bodies]


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    inference = settings.inference.model_copy(update={"load_timeout_seconds": 1e-6})
    return settings.model_copy(update={"inference": inference})


def test_with_no_worker_alive_an_alias_moves_at_once(
    promotions: Promotions, registry: ModelRegistry, publish: Publish
) -> None:
    version = publish()
    assert promotions.request("acme", "thing", "production", version.id, "ada", "first") == "flipped"
    assert registry.resolve("acme", "thing") == version.id
    assert promotions.state("acme", "thing", "production") is None
    [move] = registry.alias_history("acme", "thing", "production")
    assert (move.by, move.reason) == ("ada", "first")


def test_promoting_what_serves_already_moves_nothing_and_calls_off_what_was_under_way(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    old, new = publish("old"), publish("new")
    promotions.request("acme", "thing", "production", old.id, "ada")
    alive("w1")
    assert promotions.request("acme", "thing", "production", old.id, "bob") == "flipped"
    assert promotions.request("acme", "thing", "production", new.id, "ada") == "pending"
    assert promotions.request("acme", "thing", "production", old.id, "bob") == "flipped"
    assert promotions.state("acme", "thing", "production") is None
    promotions.ready("w1", new.id)
    assert registry.resolve("acme", "thing") == old.id
    assert [move.by for move in registry.alias_history("acme", "thing", "production")] == ["ada"]


def test_workers_load_one_after_another_and_then_the_alias_moves(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive, redis: Redis
) -> None:
    old, new = publish("old"), publish("new")
    promotions.request("acme", "thing", "production", old.id, "ada")
    alive("w1", "w2")
    assert promotions.request("acme", "thing", "production", new.id, "ada") == "pending"
    assert (asked(redis, "w1"), asked(redis, "w2")) == ([new.id], [])
    assert promotions.state("acme", "thing", "production") == {
        "version": new.id,
        "ready": [],
        "missing": ["w1", "w2"],
        "left_out": [],
        "failed": None,
    }
    promotions.ready("w1", new.id)
    assert (asked(redis, "w1"), asked(redis, "w2")) == ([new.id], [new.id])
    assert registry.resolve("acme", "thing") == old.id
    promotions.ready("w2", new.id)
    assert registry.resolve("acme", "thing") == new.id
    assert promotions.state("acme", "thing", "production") is None


def test_workers_that_hold_the_version_already_are_not_asked(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive, redis: Redis
) -> None:
    version = publish()
    alive("w1", versions=(version.id,))
    assert promotions.request("acme", "thing", "production", version.id, "ada") == "flipped"
    assert asked(redis, "w1") == []


def test_other_pools_and_other_kinds_of_workers_are_not_waited_for(
    promotions: Promotions, publish: Publish, alive: Alive
) -> None:
    alive("gpu1", pool="gpu")
    alive("t1", kind="training")
    assert promotions.request("acme", "thing", "production", publish().id, "ada") == "flipped"


def test_a_load_that_fails_refuses_the_promotion(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    old, new = publish("old"), publish("new")
    promotions.request("acme", "thing", "production", old.id, "ada")
    alive("w1", "w2")
    promotions.request("acme", "thing", "production", new.id, "ada")
    promotions.ready("w1", new.id)
    promotions.failed("w2", new.id, "E1201: no such layer")
    assert registry.resolve("acme", "thing") == old.id
    state = promotions.state("acme", "thing", "production")
    assert state is not None and state["failed"] == "worker w2 could not load it: E1201: no such layer"
    promotions.ready("w2", new.id)
    promotions.sweep()
    assert registry.resolve("acme", "thing") == old.id
    alive("w1", "w2", versions=(new.id,))
    assert promotions.request("acme", "thing", "production", new.id, "ada") == "flipped"


def test_a_lost_message_is_sent_again_but_not_at_once(
    promotions: Promotions, publish: Publish, alive: Alive, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish()
    alive("w1")
    promotions.request("acme", "thing", "production", version.id, "ada")
    redis.delete("headrace:celery:worker.w1")
    promotions.sweep()
    assert asked(redis, "w1") == []
    monkeypatch.setattr(module, "ASK_AGAIN_SECONDS", 0)
    promotions.sweep()
    assert asked(redis, "w1") == [version.id]


def test_a_worker_that_stays_silent_is_left_out(
    registry: ModelRegistry,
    redis: Redis,
    impatient: Settings,
    bells: Bells,
    publish: Publish,
    alive: Alive,
) -> None:
    promotions = Promotions(registry, redis, impatient, bells)
    version = publish()
    alive("w1")
    assert promotions.request("acme", "thing", "production", version.id, "ada") == "pending"
    promotions.sweep()
    assert registry.resolve("acme", "thing") == version.id


def test_a_worker_that_stops_is_not_waited_for(
    promotions: Promotions, registry: ModelRegistry, redis: Redis, settings: Settings, publish: Publish, alive: Alive
) -> None:
    version = publish()
    alive("w1", "w2")
    promotions.request("acme", "thing", "production", version.id, "ada")
    Heartbeats(redis, settings).leave("w1")
    promotions.sweep()
    assert asked(redis, "w2") == [version.id]
    Heartbeats(redis, settings).leave("w2")
    promotions.sweep()
    assert registry.resolve("acme", "thing") == version.id


def test_a_later_request_replaces_an_earlier_one(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    one, two = publish("one"), publish("two")
    alive("w1")
    promotions.request("acme", "thing", "production", one.id, "ada")
    promotions.request("acme", "thing", "production", two.id, "ada")
    promotions.ready("w1", one.id)
    promotions.failed("w1", one.id, "too late to matter")
    with pytest.raises(NotFound):
        registry.resolve("acme", "thing")
    promotions.ready("w1", two.id)
    assert registry.resolve("acme", "thing") == two.id


def test_a_version_deleted_meanwhile_refuses_the_promotion(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    version = publish()
    alive("w1")
    promotions.request("acme", "thing", "production", version.id, "ada")
    registry.delete_version("acme", "thing", version.id)
    promotions.ready("w1", version.id)
    state = promotions.state("acme", "thing", "production")
    assert state is not None and "no version" in str(state["failed"])


def test_an_unloadable_version_is_not_promoted(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    version = publish()
    for _ in range(3):
        registry.record_load(version.id, "begun")
        registry.record_load(version.id, "failed", "bad")
    with pytest.raises(Conflict, match="until it is reset"):
        promotions.request("acme", "thing", "production", version.id, "ada")


def test_a_version_that_becomes_unloadable_meanwhile_refuses_the_promotion(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    version = publish()
    alive("w1")
    promotions.request("acme", "thing", "production", version.id, "ada")
    for _ in range(3):
        registry.record_load(version.id, "begun")
        registry.record_load(version.id, "failed", "crashed")
    promotions.sweep()
    state = promotions.state("acme", "thing", "production")
    assert state is not None and "crashed" in str(state["failed"])


def test_what_cannot_be_promoted_is_refused(promotions: Promotions, publish: Publish) -> None:
    version = publish()
    with pytest.raises(NotFound, match="belongs to acme/thing"):
        promotions.request("acme", "other", "production", version.id, "ada")
    with pytest.raises(NotFound):
        promotions.request("acme", "thing", "production", "0" * 64, "ada")
    with pytest.raises(InvalidInput):
        promotions.request("acme", "thing", "Not A Name", version.id, "ada")


def test_rollback_takes_one_call(promotions: Promotions, registry: ModelRegistry, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    promotions.request("acme", "thing", "production", one.id, "ada")
    with pytest.raises(Conflict):
        promotions.rollback("acme", "thing", "production", "ada")
    promotions.request("acme", "thing", "production", two.id, "ada")
    assert promotions.rollback("acme", "thing", "production", "bob") == "flipped"
    assert registry.resolve("acme", "thing") == one.id
    newest = registry.alias_history("acme", "thing", "production")[0]
    assert (newest.by, newest.reason) == ("bob", "rollback")


def test_many_reports_at_once_move_an_alias_once(
    promotions: Promotions, registry: ModelRegistry, publish: Publish, alive: Alive
) -> None:
    version = publish()
    names = [f"w{number}" for number in range(8)]
    alive(*names)
    promotions.request("acme", "thing", "production", version.id, "ada")
    threads = [threading.Thread(target=promotions.ready, args=(name, version.id)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.resolve("acme", "thing") == version.id
    assert len(registry.alias_history("acme", "thing", "production")) == 1
