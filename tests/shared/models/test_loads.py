import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from shared.connections import Redis, open_keyspace
from shared.models.loads import LoadRecords
from shared.models.registry import ModelRegistry
from shared.settings import Settings

VERSION = "0" * 64

Loads = Callable[..., LoadRecords]


@pytest.fixture
def loads(redis: Redis, settings: Settings) -> Loads:
    """The records as a process of some machine sees them."""

    def of(pid: int | None = None, host: str = "here") -> LoadRecords:
        return LoadRecords(redis, open_keyspace(settings), settings, host, pid)

    return of


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_three_failed_loads_make_a_version_unloadable(loads: Loads) -> None:
    for count in range(3):
        assert loads().unloadable(VERSION) is None, count
        loads().record(VERSION, "begun")
        loads().record(VERSION, "failed", "no such layer")
    assert "failed to load 3 times" in str(loads().unloadable(VERSION))
    assert "no such layer" in str(loads().unloadable(VERSION))
    loads().reset(VERSION)
    assert loads().unloadable(VERSION) is None


def test_a_failure_counts_once(loads: Loads, redis: Redis) -> None:
    loads().record(VERSION, "begun")
    loads().record(VERSION, "failed", "x")
    loads().record(VERSION, "failed", "x")
    assert redis.hget(f"headrace:loads:{VERSION}", "failed") == b"2"


def test_a_good_load_clears_the_record(loads: Loads, redis: Redis) -> None:
    for event in ("begun", "failed", "begun", "failed", "begun", "good"):
        loads().record(VERSION, event)
    assert not redis.exists(f"headrace:loads:{VERSION}")


def test_loads_that_killed_their_process_count(loads: Loads, dead_pid: int) -> None:
    for _ in range(3):
        loads(dead_pid).record(VERSION, "begun")
    assert "died while it loaded" in str(loads().unloadable(VERSION))


def test_a_restarted_container_has_its_old_number_again(loads: Loads, redis: Redis) -> None:
    for _ in range(4):
        loads(os.getpid()).record(VERSION, "begun")
    assert "failed to load 3 times" in str(loads().unloadable(VERSION))


def test_loads_under_way_in_healthy_workers_do_not_count(loads: Loads) -> None:
    for number in range(5):
        loads(os.getpid(), f"machine{number}").record(VERSION, "begun")
    loads(os.getpid()).record(VERSION, "begun")
    assert loads().unloadable(VERSION) is None


def test_loads_elsewhere_that_never_ended_count_after_the_time_limit(
    redis: Redis, settings: Settings, loads: Loads, dead_pid: int
) -> None:
    short = settings.model_copy(
        update={"inference": settings.inference.model_copy(update={"load_timeout_seconds": -1.0})}
    )
    for number in range(3):
        loads(dead_pid, f"machine{number}").record(VERSION, "begun")
    assert loads().unloadable(VERSION) is None
    assert "died" in str(LoadRecords(redis, open_keyspace(settings), short, "here").unloadable(VERSION))


def test_the_clock_of_another_machine_does_not_count(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        loads(os.getpid(), f"machine{number}").record(VERSION, "begun")
    ahead = time.time() + 1_000_000
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert loads().unloadable(VERSION) is None


def test_the_registry_knows_at_once_of_its_own_failures(registry: ModelRegistry) -> None:
    assert registry.is_unloadable(VERSION) is None
    for _ in range(3):
        registry.record_load(VERSION, "begun")
        registry.record_load(VERSION, "failed", "bad")
    assert "bad" in str(registry.is_unloadable(VERSION))
    registry.reset_loads(VERSION)
    assert registry.is_unloadable(VERSION) is None
