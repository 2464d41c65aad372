import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.api_keys import ApiKeys
from shared.datasets.dataset import Dataset, Split
from shared.datasets.store import DatasetStore
from shared.jobs.job import SCHEMA, JobStatus
from tests.promises.conftest import HOLD, MODEL, PLAIN
from tests.shared.jobs.wire import Wire, text
from tests.upgrades.site import Site

DIGEST = "d" * 64


def headrace(site: Site, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments], env=site.environment, capture_output=True, text=True, timeout=120
    )


def _name_a_dataset(site: Site) -> None:
    store = DatasetStore(site.artifacts, site.redis, site.settings)
    splits = {name: Split((1, 1), ()) for name in ("train", "validation", "test")}
    store.publish(
        Dataset(
            digest=DIGEST, labels=("cat", "dog"), splits=splits, files={}, channels=1, image_shape=(8, 8, 1),
            is_encoded=False, seed=0, fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
            created_at="2026-01-03T00:00:00.000Z",
        )
    )  # fmt: skip
    store.name("pets", DIGEST, "dataset1")


def _state(site: Site) -> tuple[Any, ...]:
    """What follows from the records of jobs, and must be as it was."""
    tag = "headrace:{a}"
    queue = f"{tag}:queue:{site.version}@predict.cpu"
    return (
        site.redis.zrange(queue, 0, -1),
        site.redis.hgetall(f"{tag}:account:acme"),
        sorted(site.redis.zrange(f"{tag}:open", 0, -1)),
    )


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_service_that_runs_is_backed_up_and_restored_into_an_empty_one_that_goes_on(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    first, second = make_site(HEADRACE_JOBS__INLINE_INPUT_BYTES="64"), make_site()
    _name_a_dataset(first)
    first.registry.move_alias("acme", "double", "candidate", first.version, "ann", "to look at")
    first.start_all("api-1", "inference-1")
    done = first.post([1, PLAIN], Prefer="wait=20", Idempotency_Key="once")
    held = first.post([2, HOLD])
    first.signaled("holding-2")
    canceled = first.post([3, PLAIN])
    first.call("POST", f"/v1/predictions/{canceled['id']}/cancel")
    waiting = [first.post([value, PLAIN]) for value in range(4, 9)]
    large = first.post([[value, PLAIN] for value in range(10, 40)])
    reader, _ = ApiKeys(first.redis, first.settings).create("other", "reader", ["read"])

    made = headrace(first, "backup", str(tmp_path), "--json")
    assert made.returncode == 0, made.stderr
    assert "secrets" in made.stderr
    facts = json.loads(made.stdout)
    file = Path(facts["file"])
    assert (file.stat().st_mode & 0o777, file.parent, facts["files"] > 3) == (0o600, tmp_path, True)
    assert not list(tmp_path.glob("*.partial"))
    before = _state(first)
    for name in ("inference-1", "api-1"):
        os.killpg(first.members[name].pid, signal.SIGKILL)

    # The other service has a model of its own, so it is not overwritten unless that is said.
    refused = headrace(second, "restore", str(file))
    assert refused.returncode == 1 and "--replace" in refused.stderr
    restored = headrace(second, "restore", str(file), "--replace", "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["jobs_waiting"] == 7
    # The held one waits again, at its old place.
    queue, account, opened = _state(second)
    assert (queue, account, opened) == ([held["id"].encode(), *before[0]], before[1], before[2])
    assert second.redis.hget("headrace:{a}:totals", "prediction:starting") == b"7"

    # Everything that follows from the records is as they say, but the bell, which the first sweep rings; a large input
    # stands from its start where the sweeps find it, with a time after the job's deadline.
    wire = Wire(second.server.port)
    wrong = text(wire.do(*wire.script("check", 0, 64, 1 << 20, 30 * 86_400_000, 86_400_000)))
    wire.close()
    assert len(wrong) == 2 and "to be deleted inputs/" in wrong[0] and "work and no bell" in wrong[1], wrong
    second.key = first.key
    second.registry.forget()
    second.start_all("api-1")
    # What comes now does not overtake what waited.
    late = second.post([9, PLAIN])
    assert second.redis.zrange(f"headrace:{{a}}:queue:{second.version}@predict.cpu", -1, -1) != [held["id"].encode()]
    second.let_go()
    second.start_all("inference-1", "io-1")
    assert second.get(done["id"])["output"] == [2]
    assert second.post([1, PLAIN], Idempotency_Key="once")["id"] == done["id"]
    assert second.get(canceled["id"])["status"] == "canceled"
    for value, job in zip((2, *range(4, 9), 9), (held, *waiting, late), strict=True):
        assert second.ended(job["id"])["output"] == [2 * value]
    assert second.get(held["id"])["attempt"] == 2
    assert second.ended(large["id"])["output"] == [[2 * value] for value in range(10, 40)]
    assert [move.reason for move in second.registry.alias_history("acme", "double", "candidate")] == ["to look at"]
    assert second.registry.resolve("acme", "double", "candidate") == first.version
    assert second.call("GET", "/v1/datasets/pets").json()["digest"] == DIGEST
    found = ApiKeys(second.redis, second.settings).find(reader)
    assert found is not None and (found.account, found.allows("read")) == ("other", True)
    assert second.call("GET", f"/v1/models/{MODEL}").status_code == 200
    second.wait(lambda: not second.redis.exists("headrace:{a}:open", "headrace:{a}:account:acme"), "the end of all")
    assert second.jobs.get(held["id"]).status is JobStatus.SUCCEEDED  # type: ignore[union-attr]


def test_half_a_backup_or_one_of_a_later_release_is_refused_and_nothing_is_changed(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    assert headrace(site, "backup", str(file)).returncode == 0
    data = file.read_bytes()
    keys = sorted(site.redis.keys())
    later = data.replace(f'"schema": {SCHEMA},'.encode(), f'"schema": {SCHEMA + 1},'.encode(), 1)
    assert later != data
    for broken in (data[: len(data) // 2], data.replace(b"NumPy engine", b"NumPy Engine"), b"no archive", later):
        file.write_bytes(broken)
        refused = headrace(site, "restore", str(file), "--replace")
        assert refused.returncode == 1 and "backup" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
        assert sorted(site.redis.keys()) == keys


def test_a_service_with_living_workers_is_not_restored_over(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    assert headrace(site, "backup", str(file)).returncode == 0
    site.start_all("io-1")
    refused = headrace(site, "restore", str(file), "--replace")
    assert refused.returncode == 1 and "stop every API and worker" in refused.stderr
