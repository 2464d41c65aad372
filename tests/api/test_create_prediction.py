import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import create_app
from shared.connections import Redis
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="

Body = dict[str, Any]


@pytest.fixture
def body(version: ModelVersion) -> Body:
    return {"version": version.id, "input": {"image": PIXEL}}


def test_a_create_answers_201_with_a_job_that_is_starting_and_where_to_find_it(
    client: FlaskClient, body: Body, version: ModelVersion
) -> None:
    reply = client.post("/v1/predictions", json=body)
    assert reply.status_code == 201
    job = reply.json
    assert job is not None
    assert (job["status"], job["output"], job["error"]) == ("starting", None, None)
    assert job["input"] == body["input"]
    assert (job["model"], job["version"], job["kind"], job["rows"]) == ("ada/digits", version.id, "prediction", 1)
    assert job["urls"]["get"] == reply.headers["Location"] == f"http://localhost/v1/predictions/{job['id']}"
    assert job["urls"]["cancel"] == job["urls"]["get"] + "/cancel"
    assert all(isinstance(url, str) for url in job["urls"].values())
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None
    assert (seen["status"], seen["queue_position"], seen["input"]) == ("starting", 0, body["input"])
    assert seen["created_at"].endswith("Z")
    # One clock tells both, that of Redis.
    assert (seen["created_at"], seen["deadline"]) == (job["created_at"], job["deadline"])


@pytest.mark.parametrize("form", ["id", "owner/name", "owner/name:id"])
def test_version_may_be_an_id_a_model_or_both(
    client: FlaskClient, body: Body, version: ModelVersion, form: str
) -> None:
    body["version"] = {"id": version.id, "owner/name": "ada/digits", "owner/name:id": f"ada/digits:{version.id}"}[form]
    reply = client.post("/v1/predictions", json=body)
    assert reply.status_code == 201
    assert reply.json is not None and reply.json["version"] == version.id


def test_a_model_path_means_its_production(client: FlaskClient, version: ModelVersion) -> None:
    reply = client.post("/v1/models/ada/digits/predictions", json={"input": {"image": PIXEL}})
    assert reply.status_code == 201
    assert reply.json is not None and reply.json["version"] == version.id


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/v1/predictions"])
def test_every_spelling_of_the_base_url_creates(client: FlaskClient, body: Body, path: str) -> None:
    assert client.post(path, json=body).status_code == 201


def test_prefer_wait_answers_the_job_that_ended_meanwhile(
    client: FlaskClient, body: Body, version: ModelVersion, finish: Callable[..., int], eventually: Callable[..., Any]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.post, "/v1/predictions", json=body, headers={"Prefer": "wait=20"})
        eventually(lambda: finish(version.id), 10)
        job = reply.result(5).json
    assert job is not None
    assert (job["status"], job["output"]) == ("succeeded", {"label": "one"})
    assert job["completed_at"] and job["started_at"]


def test_an_expired_wait_answers_starting_without_output_though_a_worker_has_the_job(
    client: FlaskClient,
    body: Body,
    version: ModelVersion,
    take: Callable[..., tuple[str, list[Any]]],
    eventually: Callable[..., Any],
) -> None:
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.post, "/v1/predictions", json=body, headers={"Prefer": "wait=1"})
        eventually(lambda: take(version.id)[1], 10)
        job = reply.result(5).json
    assert job is not None
    assert (job["status"], job["output"], job["logs"]) == ("starting", None, "")
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None and seen["status"] == "processing"


def test_a_get_that_waits_answers_at_the_end_of_the_job(
    client: FlaskClient, body: Body, version: ModelVersion, finish: Callable[..., int], eventually: Callable[..., Any]
) -> None:
    job_id = client.post("/v1/predictions", json=body).json["id"]  # type: ignore[index]
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.get, f"/v1/predictions/{job_id}?wait=20")
        eventually(lambda: finish(version.id), 10)
        job = reply.result(5).json
    assert job is not None and job["status"] == "succeeded"


def test_a_full_waiting_room_answers_at_once(client: FlaskClient, body: Body) -> None:
    waiting = client.application.extensions["headrace"].waiting
    waiting._free = 0
    job = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}).json
    assert job is not None and (job["status"], job["output"]) == ("starting", None)


def test_fifty_simultaneous_posts_of_one_key_make_one_job(
    client_of: Callable[[str], FlaskClient], api_key: str, body: Body, count_jobs: Callable[..., int]
) -> None:
    barrier = threading.Barrier(50)

    def post(_: int) -> Any:
        client = client_of(api_key)
        barrier.wait()
        return client.post("/v1/predictions", json=body, headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(post, range(50)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json["id"] for reply in replies}) == 1
    assert count_jobs() == 1


def test_one_key_with_another_body_is_refused(client: FlaskClient, body: Body) -> None:
    headers = {"Idempotency-Key": "once"}
    client.post("/v1/predictions", json=body, headers=headers)
    reply = client.post("/v1/predictions", json={**body, "input": {"image": PIXEL, "top_k": 1}}, headers=headers)
    assert reply.status_code == 422
    assert reply.json is not None and reply.json["code"] == "idempotency-mismatch"


def test_a_replayed_key_answers_the_end_or_starting_but_nothing_between(
    client: FlaskClient,
    body: Body,
    version: ModelVersion,
    take: Callable[..., tuple[str, list[Any]]],
    queue: JobQueue,
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/predictions", json=body, headers=headers).json
    take(version.id)
    second = client.post("/v1/predictions", json=body, headers=headers).json
    assert first is not None and second is not None
    assert (second["id"], second["status"], second["output"]) == (first["id"], "starting", None)
    queue.cancel(first["id"])
    third = client.post("/v1/predictions", json=body, headers=headers).json
    assert third is not None and third["status"] == "canceled"


def test_a_replayed_key_of_a_deleted_job_is_404(
    client: FlaskClient, body: Body, count_jobs: Callable[..., int]
) -> None:
    headers = {"Idempotency-Key": "once"}
    job = client.post("/v1/predictions", json=body, headers=headers).json
    assert job is not None
    assert client.delete(f"/v1/predictions/{job['id']}").status_code == 204
    assert client.post("/v1/predictions", json=body, headers=headers).status_code == 404
    assert count_jobs() == 0


def test_a_multipart_body_is_recognised_although_its_boundary_changes(
    client: FlaskClient, version: ModelVersion
) -> None:
    def post(data: bytes) -> Any:
        import io

        fields = {"version": version.id, "image": (io.BytesIO(data), "a.png", "image/png")}
        return client.post("/v1/predictions", data=fields, headers={"Idempotency-Key": "once"})

    assert post(b"same").json["id"] == post(b"same").json["id"]
    assert post(b"other").status_code == 422


def test_an_announced_repetition_finds_the_job_and_an_equal_request_makes_another(
    client: FlaskClient, body: Body, count_jobs: Callable[..., int]
) -> None:
    def post(attempt: str) -> str:
        reply = client.post("/v1/predictions", json=body, headers={"X-Stainless-Retry-Count": attempt})
        return str(reply.json["id"])  # type: ignore[index]

    first, repeated, another = post("0"), post("1"), post("0")
    assert first == repeated != another
    assert post("2") == another
    assert count_jobs() == 2


def test_a_silent_repetition_finds_the_job_where_that_is_set(
    settings: Settings, redis: Redis, api_key: str, body: Body, count_jobs: Callable[..., int]
) -> None:
    app = create_app(settings.model_copy(update={"http": HttpSettings(repeat_seconds=60)}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    first, again = (client.post("/v1/predictions", json=body).json["id"] for _ in range(2))  # type: ignore[index]
    other = client.post("/v1/predictions", json=body | {"webhook_events_filter": ["completed"]}).json

    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()
    assert first == again
    assert other is not None and other["id"] != first
    assert count_jobs() == 2


def test_the_account_of_a_key_is_part_of_an_idempotency_key(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str], body: Body
) -> None:
    headers = {"Idempotency-Key": "once"}
    mine = client.post("/v1/predictions", json=body, headers=headers).json
    theirs = client_of(make_key("bob")).post("/v1/predictions", json=body, headers=headers).json
    assert mine is not None and theirs is not None and mine["id"] != theirs["id"]


def described_as_cancel_after(client: FlaskClient, text: str) -> bool:
    document = client.get("/openapi.json").json
    assert document is not None
    parameters = document["paths"]["/v1/predictions"]["post"]["parameters"]
    [pattern] = [one["schema"]["pattern"] for one in parameters if one["name"] == "Cancel-After"]
    return re.search(pattern, text) is not None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90", 90), ("5m", 300), ("1h30m45s", 5445), ("7.5", 7.5), ("100h", 360_000), ("0h1m", 60)],
)
def test_cancel_after_sets_the_deadline(client: FlaskClient, body: Body, text: str, seconds: float) -> None:
    from datetime import datetime

    assert described_as_cancel_after(client, text)

    job = client.post("/v1/predictions", json=body, headers={"Cancel-After": text}).json
    assert job is not None
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None
    for answer in (job, seen):
        life = datetime.fromisoformat(answer["deadline"]) - datetime.fromisoformat(answer["created_at"])
        assert life.total_seconds() == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    "text", ["4", "4s", "721h", "soon", "-5", "1d", "99999999999h", "1e9", "s", "1m5", "5.m", "1s1h"]
)
def test_a_deadline_that_makes_no_sense_is_422(client: FlaskClient, body: Body, text: str) -> None:
    reply = client.post("/v1/predictions", json=body, headers={"Cancel-After": text})
    assert reply.status_code == 422
    assert reply.json is not None
    [problem] = reply.json["invalid_fields"]
    assert problem["field"] == "Cancel-After"
    assert (problem["type"] == "range") == described_as_cancel_after(client, text)


def test_an_empty_deadline_counts_as_none(client: FlaskClient, body: Body) -> None:
    assert described_as_cancel_after(client, "")
    assert client.post("/v1/predictions", json=body, headers={"Cancel-After": ""}).status_code == 201


def test_option_names_that_stock_clients_send_along_are_taken(client: FlaskClient, body: Body) -> None:
    extra = {"signal": {}, "webhook_events_filter": ["completed"], "stream": False, "webhook": None}
    assert client.post("/v1/predictions", json={**body, **extra}).status_code == 201


def test_priority_and_rows_come_from_the_input(client: FlaskClient, body: Body) -> None:
    body["input"] = {"image": [PIXEL] * 3, "priority": "high"}
    job = client.post("/v1/predictions", json=body).json
    assert job is not None and (job["rows"], job["priority"]) == (3, "high")
