import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import create_app
from api.waiting import BACKSTOP_SECONDS
from shared.connections import Redis
from shared.models.version import ModelVersion
from shared.settings import QueueSettings, RedisSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_a_full_queue_is_429_with_a_small_whole_retry_after(
    redis: Any, settings: Settings, api_key: str, version: ModelVersion
) -> None:
    small = settings.model_copy(update={"queue": QueueSettings(max_rows=2)})
    app = create_app(small, sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    body = {"version": version.id, "input": {"image": PIXEL}}
    assert [client.post("/v1/predictions", json=body).status_code for _ in range(3)] == [201, 201, 429]
    reply = client.post("/v1/predictions", json=body)
    assert reply.content_type == "application/problem+json"
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    app.extensions["headrace"].waiting.stop()


@pytest.mark.parametrize(
    ("limits", "rows", "sentence"),
    [
        ({"max_rows": 2}, 3, "The job has 3 rows and queue.max_rows admits 2"),
        ({"account_max_rows": 2}, 3, "The job has 3 rows and queue.account_max_rows admits 2"),
        ({"max_bytes": 100}, 3, "bytes and queue.max_bytes admits 100"),
        ({"account_max_bytes": 100}, 3, "bytes and queue.account_max_bytes admits 100"),
        ({"max_rows": 2, "account_max_rows": 1}, 3, "queue.account_max_rows admits 1"),
    ],
)
def test_a_job_that_no_limit_could_ever_admit_is_413_and_names_it_however_full_the_queue_is(
    redis: Redis, settings: Settings, api_key: str, version: ModelVersion, count_jobs: Callable[..., int],
    limits: dict[str, int], rows: int, sentence: str,
) -> None:  # fmt: skip
    app = create_app(settings.model_copy(update={"queue": QueueSettings(**limits)}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"

    def post(images: Any) -> Any:
        return client.post("/v1/predictions", json={"version": version.id, "input": {"image": images}})

    for _ in range(2):  # the first time nothing waits
        reply = post([PIXEL] * rows)
        assert reply.status_code == 413 and reply.content_type == "application/problem+json"
        assert sentence in reply.json["detail"] and "Retry-After" not in reply.headers
        while post(PIXEL).status_code == 201:
            continue
        assert post(PIXEL).status_code == 429
    admitted = count_jobs()
    # The same with the address of a file that would have to be fetched first.
    held = post(["https://example.org/cat.png" + "?" * 50] * rows)
    assert held.status_code == 413 and sentence in held.json["detail"]
    assert redis.zcard("headrace:{a}:outgoing-hosts") == 0 and count_jobs() == admitted > 0
    app.extensions["headrace"].waiting.stop()


def test_a_queue_that_stays_full_for_long_says_how_long_and_sends_no_header_that_clients_pass_over(
    redis: Redis, settings: Settings, api_key: str, version: ModelVersion
) -> None:
    app = create_app(settings.model_copy(update={"queue": QueueSettings(max_rows=2)}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    body = {"version": version.id, "input": {"image": PIXEL}}
    assert [client.post("/v1/predictions", json=body).status_code for _ in range(2)] == [201, 201]
    now = int(time.time() * 1000)
    for seconds, sent in ((40, 40), (900, 60)):
        pace = {"rows": 1, "ms": 1000 * seconds, "at": now + 60_000}  # a row in so many seconds, and no stall since
        redis.hset(f"headrace:{{a}}:pace:{version.id}@predict.cpu", mapping=pace)  # type: ignore[arg-type]
        reply = client.post("/v1/predictions", json=body)
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, str(sent))
        assert f"try again in {seconds} s." in reply.json["detail"]  # type: ignore[index]
    app.extensions["headrace"].waiting.stop()


@pytest.fixture
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A server of the test's own, which it may stop."""
    server = type(request.getfixturevalue("redis_server"))(tmp_path, "--appendonly", "no")
    yield server
    server.close()


@pytest.fixture
def own_settings(own_server: Any, tmp_path: Path) -> Settings:
    return Settings(redis=RedisSettings(url=own_server.url), data_dir=tmp_path / "data")


def _prompt_503(client: FlaskClient) -> None:
    begun = time.monotonic()
    reply = client.get("/v1/jobs")
    assert time.monotonic() - begun < 2
    assert reply.status_code == 503
    assert reply.content_type == "application/problem+json"
    assert int(reply.headers["Retry-After"]) >= 1


def test_redis_away_is_503_within_two_seconds_and_the_process_recovers_by_itself(
    own_server: Any, own_settings: Settings, eventually: Callable[..., Any]
) -> None:
    app = create_app(own_settings, sweeps=False)
    services = app.extensions["headrace"]
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {services.keys.create('ada', 'test', ['admin'])[0]}"
    assert client.get("/v1/jobs").status_code == 200
    own_server.kill()
    _prompt_503(client)
    services.keys.forget()
    _prompt_503(client)
    assert client.get("/livez").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json is not None
    assert ready.json["dependencies"]["redis"]["ready"] is False
    assert ready.json["dependencies"]["artifacts"]["ready"] is True
    own_server.start()
    key = services.keys.create("ada", "test", ["admin"])[0]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/readyz").status_code == 200
    services.waiting.stop()


def test_a_redis_that_hangs_is_503_within_two_seconds(own_server: Any, own_settings: Settings) -> None:
    app = create_app(own_settings, sweeps=False)
    services = app.extensions["headrace"]
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {services.keys.create('ada', 'test', ['admin'])[0]}"
    assert client.get("/v1/jobs").status_code == 200
    own_server.process.send_signal(19)
    try:
        _prompt_503(client)
        services.keys.forget()
        _prompt_503(client)
    finally:
        own_server.process.send_signal(18)
    assert client.get("/v1/jobs").status_code == 200
    services.waiting.stop()


def test_a_process_starts_while_redis_is_away(own_server: Any, own_settings: Settings) -> None:
    own_server.kill()
    app = create_app(own_settings, sweeps=False)
    client = app.test_client()
    assert client.get("/livez").status_code == 200
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer hr_" + "x" * 43
    _prompt_503(client)
    own_server.start()
    assert client.get("/v1/jobs").status_code == 401
    app.extensions["headrace"].waiting.stop()


def test_a_waiter_is_woken_at_once_and_also_after_its_subscription_broke(
    client: FlaskClient, redis: Redis, version: ModelVersion, finish: Callable[..., int], eventually: Callable[..., Any]
) -> None:
    def wait_while(cut: bool) -> float:
        body = {"version": version.id, "input": {"image": PIXEL}}
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.post, "/v1/predictions", json=body, headers={"Prefer": "wait=30"})
            eventually(lambda: redis.zcard(f"headrace:{{a}}:queue:{version.id}@predict.cpu"), 10)
            if cut:
                redis.client_kill_filter(_type="pubsub")
            ended = time.monotonic()
            assert finish(version.id) == 1
            job = reply.result(20).json
        assert job is not None and job["status"] == "succeeded"
        return time.monotonic() - ended

    eventually(lambda: redis.pubsub_numsub("headrace:changed")[0][1], 10)
    assert wait_while(cut=False) < 1
    assert wait_while(cut=True) < BACKSTOP_SECONDS + 2
    assert wait_while(cut=False) < BACKSTOP_SECONDS + 2
    eventually(lambda: redis.pubsub_numsub("headrace:changed")[0][1], 10)
    assert wait_while(cut=False) < 1


def test_more_threads_than_a_client_has_connections_by_default_are_all_answered(
    client_of: Callable[[str], FlaskClient], api_key: str
) -> None:
    def read(_: int) -> int:
        return client_of(api_key).get("/v1/jobs").status_code

    with ThreadPoolExecutor(150) as pool:
        assert set(pool.map(read, range(300))) == {200}


def test_a_process_that_shuts_down_answers_those_who_wait(
    client: FlaskClient, redis: Redis, version: ModelVersion, eventually: Callable[..., Any]
) -> None:
    waiting = client.application.extensions["headrace"].waiting
    body = {"version": version.id, "input": {"image": PIXEL}}
    with ThreadPoolExecutor(2) as pool:
        created = pool.submit(client.post, "/v1/predictions", json=body, headers={"Prefer": "wait=60"})
        eventually(lambda: redis.zcard(f"headrace:{{a}}:queue:{version.id}@predict.cpu"), 10)
        job_id = redis.zrange(f"headrace:{{a}}:queue:{version.id}@predict.cpu", 0, 0)[0].decode()
        read = pool.submit(client.get, f"/v1/jobs/{job_id}?wait=60")
        eventually(lambda: len(waiting._seats.get(job_id, ())) == 2, 10)
        waiting.dismiss()
        replies = [created.result(10).json, read.result(10).json]
    assert [reply["status"] for reply in replies if reply is not None] == ["starting", "starting"]
    late = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"})
    assert late.status_code == 201
