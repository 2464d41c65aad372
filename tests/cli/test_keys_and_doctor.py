import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from cli import doctor
from cli.data_folder import DataFolder, without_password
from cli.redis_check import read_facts, refuse_unfit
from cli.terminal import Failure
from shared.connections import Redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.settings import RedisSettings, Settings


@pytest.fixture
def on_redis(
    headrace_command: Callable[..., Result], redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("HEADRACE_REDIS__URL", redis_url)
    return headrace_command


def test_a_key_is_made_listed_and_revoked_with_nothing_but_redis(on_redis: Callable[..., Result]) -> None:
    made = on_redis("keys", "create", "--account", "ci", "--name", "builds", "--scopes", "read,predictions:write")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("hr_")
    listed = json.loads(on_redis("keys", "list", "--json").stdout)
    assert [(key["account"], key["name"], key["scopes"]) for key in listed] == [
        ("ci", "builds", ["predictions:write", "read"])
    ]
    assert made.stdout.strip() not in json.dumps(listed)
    assert on_redis("keys", "revoke", listed[0]["id"]).exit_code == 0
    assert "There are no keys yet" in on_redis("keys", "list").stdout
    assert "No key is called 'zz'; name one by the id" in on_redis("keys", "revoke", "zz").stderr


def test_an_unknown_scope_is_refused_with_the_ones_there_are(on_redis: Callable[..., Result]) -> None:
    result = on_redis("keys", "create", "--scopes", "everything")
    assert result.exit_code == 1
    assert "Unknown scopes everything: choose from read, predictions:write" in result.stderr


def test_keys_without_redis_say_where_none_answers_and_keep_the_password(
    headrace_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://me:secret@127.0.0.1:9/0")
    result = headrace_command("keys", "list")
    assert result.exit_code == 1
    assert "No Redis server answers at redis://127.0.0.1:9/0" in result.stderr
    assert "secret" not in result.output


def test_the_doctor_finds_a_server_without_append_only_file_poor_and_no_worker(
    on_redis: Callable[..., Result], tmp_path: Path
) -> None:
    result = on_redis("doctor", "--skip-tensorflow", "--json")
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
    names = {"redis", "eviction", "durability", "latency", "clocks", "workers", "disk", "artifacts", "api", "outgoing"}
    assert set(findings) == names
    assert findings["redis"]["state"] == "good"
    assert findings["eviction"]["fact"] == "noeviction"
    assert findings["durability"]["state"] == "poor"
    assert findings["workers"]["state"] == "poor"
    assert findings["artifacts"]["state"] == "good"
    assert all(finding["advice"] for finding in findings.values() if finding["state"] != "good")
    assert result.exit_code == 0


def test_the_doctor_misses_an_io_worker_where_others_live(
    on_redis: Callable[..., Result], redis: Redis, settings: Settings
) -> None:
    heartbeats = Heartbeats(redis, settings)
    for kind, state in (("inference", "poor"), ("io", "good")):
        heartbeats.beat(WorkerInfo(f"{kind}-1", kind, "cpu", "here", 1, ()))
        result = on_redis("doctor", "--skip-tensorflow", "--json")
        findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
        assert findings["workers"]["state"] == state
        assert ("webhooks" in findings["workers"]["advice"]) == (state == "poor")


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("ALLOWED_NETWORKS", "[]", "good"),
        ("ALLOWED_NETWORKS", '["10.1.0.0/16"]', "good"),
        ("ALLOWED_NETWORKS", '["0.0.0.0/0"]', "poor"),
        ("CA_FILE", "/nowhere.pem", "bad"),
    ],
)
def test_the_doctor_looks_where_requests_may_lead_and_what_verifies_the_servers_there(
    name: str, value: str, state: str, on_redis: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"HEADRACE_OUTGOING__{name}", value)
    result = on_redis("doctor", "--skip-tensorflow", "--json")
    (finding,) = (finding for finding in json.loads(result.stdout) if finding["name"] == "outgoing")
    assert finding["state"] == state and bool(finding["advice"]) == (state != "good")


@pytest.mark.parametrize(
    ("least", "few", "state", "advice"),
    [
        (1 << 62, 1 << 62, "bad", "Make room, or move the folder with --data-dir"),
        (0, 1 << 62, "poor", "Data sets and checkpoints may need more"),
        (0, 0, "good", ""),
    ],
)
def test_the_doctor_measures_the_room_on_the_disk_of_the_data_folder(
    least: int,
    few: int,
    state: str,
    advice: str,
    on_redis: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # No test can fill the disk, so that what counts as little changes instead.
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", least)
    monkeypatch.setattr(doctor, "FEW_FREE_BYTES", few)
    result = on_redis("doctor", "--skip-tensorflow", "--json")
    (finding,) = (finding for finding in json.loads(result.stdout) if finding["name"] == "disk")
    assert (finding["state"], finding["advice"]) == (state, advice)
    assert finding["fact"].endswith(f"B free on {tmp_path / 'data'}")
    assert result.exit_code == (state == "bad")


@pytest.mark.parametrize(
    ("ahead", "state"), [(-5.0, "bad"), (-1.0, "good"), (0.0, "good"), (1.0, "good"), (5.0, "bad")]
)
def test_the_doctor_compares_this_clock_with_that_of_redis(
    ahead: float, state: str, on_redis: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "time", SimpleNamespace(time=lambda: time.time() + ahead))
    result = on_redis("doctor", "--skip-tensorflow", "--json")
    (finding,) = (finding for finding in json.loads(result.stdout) if finding["name"] == "clocks")
    assert finding["state"] == state and ("NTP" in finding["advice"]) == (state == "bad")
    assert float(finding["fact"].split()[2]) == pytest.approx(-ahead, abs=0.5)
    assert result.exit_code == (state == "bad")


def test_the_doctor_makes_a_new_data_folder_for_its_owner_only(on_redis: Callable[..., Result], tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        assert on_redis("doctor", "--skip-tensorflow").exit_code == 0
    finally:
        os.umask(previous)
    folders = (tmp_path / "data", tmp_path / "data" / "artifacts")
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


def test_the_doctor_ends_with_1_where_something_is_bad(
    headrace_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://127.0.0.1:9/0")
    result = headrace_command("doctor", "--skip-tensorflow")
    assert result.exit_code == 1
    assert "does not answer at redis://127.0.0.1:9/0. Start one with `headrace up`" in result.stdout


def test_a_server_that_evicts_is_refused(redis: Redis, settings: Settings) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Failure, match=r"would evict jobs \(maxmemory-policy allkeys-lru\); set it to noeviction"):
            refuse_unfit(settings)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert refuse_unfit(settings).policy == "noeviction"


def test_a_server_that_forbids_config_and_info_will_do(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    redis.acl_setuser("narrow", enabled=True, passwords=["+secret"], commands=["+@all", "-config"], keys=["*"])
    redis.acl_setuser(
        "narrower", enabled=True, passwords=["+secret"], commands=["+@all", "-config", "-info"], keys=["*"]
    )
    try:
        for user, policy in (("narrow", "noeviction"), ("narrower", None)):
            url = redis_url.replace("redis://", f"redis://{user}:secret@")
            facts = refuse_unfit(Settings(data_dir=tmp_path, redis=RedisSettings(url=url, prefix="headrace")))
            assert facts.policy == policy
    finally:
        redis.acl_deluser("narrow", "narrower")


def test_the_facts_name_product_and_version(redis: Redis) -> None:
    facts = read_facts(redis)
    assert facts.name.startswith("Valkey ")
    assert not facts.is_old
    assert facts.is_durable is False


def test_an_address_is_shown_without_its_password() -> None:
    assert without_password("rediss://user:p@ss@host:6379/0") == "rediss://host:6379/0"
    assert without_password("unix:///tmp/redis.sock") == "unix:///tmp/redis.sock"


def test_the_embedded_server_of_a_folder_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_REDIS__URL", raising=False)
    folder = DataFolder(tmp_path)
    folder.make()
    folder.redis_url.write_text("unix:///somewhere/redis.sock")
    assert folder.settings_here().redis.url == "unix:///somewhere/redis.sock"
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://elsewhere:6379/0")
    assert folder.settings_here().redis.url == "redis://elsewhere:6379/0"
