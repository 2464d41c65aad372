import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.headers import NO_WAIT, Wait, read_job_headers
from shared.connections import Redis
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="
BEAT = 0.05

Body = dict[str, Any]


@pytest.fixture
def brisk(settings: Settings, redis: Redis) -> Iterator[Flask]:
    """A service whose held replies give a sign of life every 50 ms."""
    http = HttpSettings(keepalive_seconds=BEAT, max_wait_seconds=600)
    app = create_app(settings.model_copy(update={"http": http}), sweeps=False)
    yield app
    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()


@pytest.fixture
def held(brisk: Flask, api_key: str) -> FlaskClient:
    client = brisk.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    return client


@pytest.fixture
def body(version: ModelVersion) -> Body:
    return {"version": version.id, "input": {"image": PIXEL}}


def wait_of(app: Flask, settings: Settings, prefer: str = "wait=50", **more: str) -> Wait:
    headers = {"Prefer": prefer, **{name.replace("_", "-"): value for name, value in more.items()}}
    with app.test_request_context(headers=headers):
        return read_job_headers(settings).wait


def seats(app: Flask) -> int:
    waiting = app.extensions["headrace"].waiting
    return int(waiting._free)


def test_what_ends_soon_is_one_piece_with_its_length(
    client: FlaskClient, body: Body, finish: Callable[..., int], version: ModelVersion, eventually: Callable[..., Any]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.post, "/v1/predictions", json=body, headers={"Prefer": "wait=20"})
        eventually(lambda: finish(version.id), 10)
        got = reply.result(5)
    assert int(got.headers["Content-Length"]) == len(got.data) and got.data[:1] == b"{"


def test_a_create_that_is_held_gives_signs_of_life_and_ends_with_the_job(
    held: FlaskClient, body: Body, finish: Callable[..., int], version: ModelVersion
) -> None:
    free = seats(held.application)
    reply = held.post("/v1/predictions", json=body, headers={"Prefer": "wait=20"}, buffered=False)
    assert reply.status_code == 201 and "Content-Length" not in reply.headers
    assert reply.headers["Location"].startswith("http://localhost/v1/predictions/")
    assert (reply.headers["Content-Type"], reply.headers["X-Accel-Buffering"]) == ("application/json", "no")
    pieces = reply.iter_encoded()
    begun = [next(pieces) for _ in range(4)]
    assert begun == [b" "] * 4 and seats(held.application) == free - 1
    finish(version.id)
    whole = b"".join([*begun, *pieces])
    reply.close()
    job = json.loads(whole)
    assert (job["status"], job["output"]) == ("succeeded", {"label": "one"})
    assert seats(held.application) == free


def test_a_held_create_whose_time_is_over_answers_starting_though_a_worker_has_the_job(
    held: FlaskClient, body: Body, version: ModelVersion, take: Callable[..., Any]
) -> None:
    reply = held.post("/v1/predictions", json=body, headers={"Prefer": "wait=1"}, buffered=False)
    pieces = reply.iter_encoded()
    next(pieces)
    assert take(version.id)[1]
    job = json.loads(b"".join(pieces))
    reply.close()
    assert (job["status"], job["output"], job["started_at"]) == ("starting", None, None)


@pytest.mark.parametrize("again", [{"Idempotency-Key": "once"}, {"X-Stainless-Retry-Count": "1"}])
def test_a_repetition_waits_for_the_job_that_the_first_request_made(
    held: FlaskClient, body: Body, again: dict[str, str], take: Callable[..., Any], version: ModelVersion,
    finish: Callable[..., int], queue: JobQueue,
) -> None:  # fmt: skip
    first = held.post("/v1/predictions", json=body, headers={**again, "X-Stainless-Retry-Count": "0"}).json
    assert first is not None
    claim, _ = take(version.id)
    reply = held.post("/v1/predictions", json=body, headers={**again, "Prefer": "wait=1"}, buffered=False)
    timed_out = json.loads(b"".join(reply.iter_encoded()))
    reply.close()
    assert (timed_out["id"], timed_out["status"], timed_out["started_at"]) == (first["id"], "starting", None)
    reply = held.post("/v1/predictions", json=body, headers={**again, "Prefer": "wait=20"}, buffered=False)
    pieces = reply.iter_encoded()
    next(pieces)
    queue.release(claim)
    finish(version.id)
    assert json.loads(b"".join(pieces))["status"] == "succeeded"
    reply.close()


def test_a_get_that_is_held_gives_signs_of_life_too(
    held: FlaskClient, body: Body, version: ModelVersion, take: Callable[..., Any]
) -> None:
    job_id = held.post("/v1/predictions", json=body).json["id"]  # type: ignore[index]
    reply = held.get(f"/v1/predictions/{job_id}?wait=1", buffered=False)
    assert reply.status_code == 200 and "Content-Length" not in reply.headers
    take(version.id)
    assert json.loads(b"".join(reply.iter_encoded()))["status"] == "processing"
    reply.close()
    assert held.get(f"/v1/trainings/{job_id}?wait=20").status_code == 404


def test_a_job_that_is_deleted_meanwhile_ends_the_wait(held: FlaskClient, body: Body, client: FlaskClient) -> None:
    reply = held.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}, buffered=False)
    pieces = reply.iter_encoded()
    next(pieces)
    job_id = reply.headers["Location"].rpartition("/")[2]
    begun = time.monotonic()
    assert client.delete(f"/v1/predictions/{job_id}").status_code == 204
    assert json.loads(b"".join(pieces))["status"] in ("starting", "canceled")
    assert time.monotonic() - begun < 10
    reply.close()


def test_a_reader_who_leaves_before_the_first_piece_gives_its_place_back(held: FlaskClient, body: Body) -> None:
    free = seats(held.application)
    reply = held.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}, buffered=False)
    assert seats(held.application) == free - 1
    reply.close()
    assert seats(held.application) == free


def test_who_shuts_down_ends_the_held_replies(held: FlaskClient, body: Body) -> None:
    reply = held.post("/v1/predictions", json=body, headers={"Prefer": "wait=600"}, buffered=False)
    pieces = reply.iter_encoded()
    next(pieces)
    held.application.extensions["headrace"].waiting.dismiss()
    assert json.loads(b"".join(pieces))["status"] == "starting"
    reply.close()


@pytest.mark.parametrize(
    ("http", "prefer", "patience", "expected"),
    [
        ({}, "wait=50", None, Wait(50, 5)),
        ({}, "wait", None, Wait(55, 5)),
        ({}, "wait=50", "600", Wait(50, 5)),
        ({}, "wait=50", "6", Wait(50, 2)),
        ({}, "wait=50", "0.5", NO_WAIT),
        ({"max_wait_seconds": 600}, "wait", None, Wait(600, 5)),
        ({"max_wait_seconds": 600}, "wait=300", "60.0", Wait(300, 5)),
        ({"max_wait_seconds": 30}, "wait", None, Wait(30, 5)),
        ({"keepalive_seconds": 0}, "wait=50", "10", Wait(8, 0)),
        ({"keepalive_seconds": 0}, "wait", None, Wait(55, 0)),
        ({}, "respond-async", None, NO_WAIT),
        ({}, "wait=0", None, NO_WAIT),
    ],
)
def test_signs_of_life_come_before_a_client_loses_patience(
    app: Flask, http: dict[str, float], prefer: str, patience: str | None, expected: Wait
) -> None:
    settings = Settings(http=HttpSettings(**http))  # type: ignore[arg-type]
    more = {} if patience is None else {"X_Stainless_Read_Timeout": patience}
    assert wait_of(app, settings, prefer, **more) == expected


def test_the_real_server_holds_replies_ends_them_when_it_stops_and_forgets_readers_who_left(
    server: Any,
    api_key: str,
    body: Body,
    eventually: Callable[..., Any],
    version: ModelVersion,
    finish: Callable[..., int],
) -> None:
    url, key = f"{server.url}/predictions", {"Authorization": f"Bearer {api_key}"}
    headers = {**key, "Prefer": "wait=60", "X-Stainless-Read-Timeout": "0.9"}
    # A client that loses patience after 0.9 s waits out a job of two seconds.
    with requests.post(url, json=body, headers=headers, timeout=(5, 0.9), stream=True) as reply:
        assert reply.status_code == 201 and reply.headers["Transfer-Encoding"] == "chunked"
        pieces = reply.iter_content(None)
        begun = time.monotonic()
        seen = next(pieces)
        while time.monotonic() - begun < 2:
            seen += next(pieces)
        finish(version.id)
        seen += b"".join(pieces)
    assert len(seen) - len(seen.lstrip()) >= 6
    assert json.loads(seen)["status"] == "succeeded"

    # 26 of the 32 threads may wait; as many readers come and go, and others find a place.
    port = int(server.url.rpartition(":")[2])
    raw = json.dumps(body).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(raw)}\r\n\r\n"
    left = [socket.create_connection(("127.0.0.1", port)) for _ in range(26)]
    for reader in left:
        reader.sendall(head.encode() + raw)
    for reader in left:
        assert b" 201 " in reader.recv(64)
        reader.close()

    def is_held() -> bool:
        begun = time.monotonic()
        requests.post(url, json=body, headers={**key, "Prefer": "wait=1"}, timeout=10)
        return time.monotonic() - begun > 0.9

    eventually(is_held, 20)

    with requests.post(url, json=body, headers=headers, timeout=9, stream=True) as reply:
        pieces = reply.iter_content(None)
        seen = next(pieces)
        server.process.terminate()
        seen += b"".join(pieces)
    assert json.loads(seen)["status"] == "starting"
    assert server.process.wait(10) == 0
