import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api import create_app
from api.auth import WRITE_SCOPES
from shared.api_keys import SCOPES
from shared.connections import Redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.jobs.job import JobKind
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def _figures(client: FlaskClient) -> dict[tuple[str, tuple[str, ...]], float]:
    reply = client.get("/metrics")
    assert reply.status_code == 200 and reply.content_type.startswith("text/plain")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_the_process_says_that_it_lives_and_is_ready_without_a_key(anonymous: FlaskClient) -> None:
    assert anonymous.get("/livez").json == {"status": "live"}
    ready = anonymous.get("/readyz")
    assert ready.status_code == 200
    assert ready.json is not None
    assert {name: state["ready"] for name, state in ready.json["dependencies"].items()} == {
        "redis": True,
        "artifacts": True,
    }


def test_a_redis_that_evicts_is_not_ready(anonymous: FlaskClient, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ready = anonymous.get("/readyz")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert ready.status_code == 503
    assert ready.json is not None and "noeviction" in ready.json["dependencies"]["redis"]["detail"]


@pytest.mark.parametrize(
    ("option", "value", "word"), [("maxmemory", "1", "memory is full"), ("min-replicas-to-write", "1", "not ready")]
)
def test_a_redis_that_refuses_writes_is_not_ready_until_it_takes_them_and_a_probe_writes_nothing(
    client: FlaskClient, anonymous: FlaskClient, version: ModelVersion, redis: Redis, option: str, value: str, word: str
) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    written = redis.info("replication")["master_repl_offset"], redis.info("persistence")["rdb_changes_since_last_save"]
    before = sorted(redis.keys())
    redis.config_set(option, value)
    try:
        refused, ready = client.post("/v1/predictions", json=body), anonymous.get("/readyz")
    finally:
        redis.config_set(option, "0")
    assert refused.status_code in (429, 503)
    assert ready.status_code == 503
    assert ready.json is not None
    assert ready.json["dependencies"]["redis"]["ready"] is False
    assert word in ready.json["dependencies"]["redis"]["detail"]
    assert ready.json["dependencies"]["artifacts"]["ready"] is True
    assert anonymous.get("/readyz").status_code == 200
    assert sorted(redis.keys()) == before
    assert (
        redis.info("replication")["master_repl_offset"],
        redis.info("persistence")["rdb_changes_since_last_save"],
    ) == written


def test_metrics_tell_jobs_queues_workers_and_batches(
    client: FlaskClient,
    version: ModelVersion,
    queue: Any,
    take: Callable[..., Any],
    redis: Redis,
    settings: Settings,
) -> None:
    from shared.jobs.claim import Outcome

    body = {"version": version.id, "input": {"image": PIXEL}}
    for _ in range(3):
        client.post("/v1/predictions", json=body)
    claim, jobs = take(version.id)
    outcomes = [Outcome(job.id, job.attempt, b"1") for job in jobs]
    queue.settle(claim, outcomes, batches=[3], decode_ms=2.0, compute_ms=500.0)
    canceled = client.post("/v1/predictions", json=body).json
    assert canceled is not None
    client.post(f"/v1/predictions/{canceled['id']}/cancel")
    client.post("/v1/predictions", json={**body, "input": {"image": [PIXEL] * 2}})
    Heartbeats(redis, settings).beat(WorkerInfo("w1", "inference", "cpu", "host", 1, ()))
    figures = _figures(client)
    line = ("predict.cpu", version.id)
    assert figures["headrace_jobs_total", ("prediction", "succeeded")] == 3
    assert figures["headrace_jobs_total", ("prediction", "canceled")] == 1
    assert figures["headrace_jobs_total", ("training", "failed")] == 0
    assert figures["headrace_jobs_open", ("prediction", "starting")] == 1
    assert figures["headrace_jobs_open", ("prediction", "processing")] == 0
    assert figures["headrace_jobs_open", ("training", "starting")] == 0
    assert figures["headrace_queue_depth_rows", line] == 2
    assert figures["headrace_queue_depth_bytes", line] > 0
    assert 0 <= figures["headrace_queue_oldest_seconds", line] < 60
    assert figures["headrace_workers", ("inference", "cpu")] == 1
    assert figures["headrace_batch_rows_bucket", ("2.0",)] == 0
    assert figures["headrace_batch_rows_bucket", ("4.0",)] == 1
    assert figures["headrace_batch_rows_bucket", ("+Inf",)] == 1
    assert figures["headrace_batch_rows_sum", ()] == 3
    assert figures["headrace_batch_compute_seconds_total", ()] == 0.5
    assert figures["headrace_job_queue_seconds_total", ("prediction",)] >= 0


def test_metrics_tell_open_jobs_by_status_and_the_age_of_the_oldest_not_of_the_next(
    client: FlaskClient, version: ModelVersion, take: Callable[..., Any], redis: Redis
) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    taken = client.post("/v1/predictions", json=body)
    assert taken.status_code == 201
    take(version.id)
    low = client.post("/v1/predictions", json={**body, "input": {"image": PIXEL, "priority": "low"}}).json
    assert low is not None
    client.post("/v1/predictions", json={**body, "input": {"image": PIXEL, "priority": "high"}})
    line = f"{version.id}@predict.cpu"
    # The low one came first and is taken last.
    assert redis.zrange(f"headrace:{{a}}:queue:{line}", -1, -1) == [low["id"].encode()]
    redis.zincrby(f"headrace:{{a}}:born:{line}", -100_000, low["id"])
    figures = _figures(client)
    assert figures["headrace_jobs_open", ("prediction", "starting")] == 2
    assert figures["headrace_jobs_open", ("prediction", "processing")] == 1
    assert 100 <= figures["headrace_queue_oldest_seconds", ("predict.cpu", version.id)] < 160


def test_every_route_says_who_may_use_it(client: FlaskClient) -> None:
    app = client.application
    public = set()
    for rule in app.url_map.iter_rules():
        scope = getattr(app.view_functions[rule.endpoint], "scope", None)
        assert scope is not None, rule
        assert scope in ("", "public") or scope in SCOPES, rule
        if scope == "public":
            public.add(rule.rule)
    assert public == {
        "/livez",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/docs/assets/<asset>",
        "/docs/models/<owner>/<name>",
        # The address itself is the key, for a while.
        "/v1/files/<file_id>/download",
        "/v1/jobs/<job_id>/output",
        "/v1/streams/<job_id>/<token>",
    }
    assert set(WRITE_SCOPES) == set(JobKind)
    assert set(WRITE_SCOPES.values()) <= set(SCOPES)


def test_a_route_without_a_mark_is_never_run(client: FlaskClient) -> None:
    app = client.application
    app._got_first_request = False
    app.add_url_rule("/unmarked", "unmarked", lambda: "secret")
    assert client.get("/unmarked").status_code == 403


def test_the_account_of_the_key_is_told(client: FlaskClient) -> None:
    account = client.get("/v1/account").json
    assert account is not None
    assert (account["type"], account["username"], account["name"]) == ("organization", "ada", "ada")
    assert account["key"]["scopes"] == ["admin"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "token"])
def test_both_schemes_of_authorization_work(anonymous: FlaskClient, api_key: str, scheme: str) -> None:
    assert anonymous.get("/v1/account", headers={"Authorization": f"{scheme} {api_key}"}).status_code == 200


def test_a_revoked_key_is_refused_within_a_second(
    client: FlaskClient, keys: Any, eventually: Callable[..., object]
) -> None:
    assert client.get("/v1/account").status_code == 200
    keys.revoke(keys.list()[0].id)
    eventually(lambda: client.get("/v1/account").status_code == 401, 1.0)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("localhost:9000", "http://localhost:9000"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("evil.example", "http://10.0.0.7:8000"),
        ("localhost.evil.example", "http://10.0.0.7:8000"),
        ("localhost@evil.example", "http://10.0.0.7:8000"),
    ],
)
def test_urls_never_come_from_a_host_that_is_not_trusted(
    client: FlaskClient, settings: Settings, host: str, base: str
) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "address").write_text("http://10.0.0.7:8000\n")
    model = client.get("/v1/models/headrace/image-classifier", headers={"Host": host}).json
    assert model is not None and model["url"] == f"{base}/v1/models/headrace/image-classifier"


def test_the_public_url_wins(settings: Settings, redis: Redis, api_key: str) -> None:
    public = settings.model_copy(update={"http": HttpSettings(public_url="https://models.example.org/")})
    app = create_app(public, sweeps=False)
    headers = {"Authorization": f"Bearer {api_key}"}
    model = app.test_client().get("/v1/models/headrace/image-classifier", headers=headers).json
    assert model is not None and model["url"].startswith("https://models.example.org/v1/models/")
    app.extensions["headrace"].waiting.stop()


def test_every_figure_is_documented(client: FlaskClient) -> None:
    told = set(re.findall(r"^# TYPE (\S+) ", client.get("/metrics").text, re.MULTILINE))
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(headrace_[a-z_]+)` \|", page, re.MULTILINE)) == told
