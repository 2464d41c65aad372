import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import create_app
from shared.connections import Redis
from shared.models.version import ModelVersion
from shared.rate_limits import BURST, RateLimits
from shared.settings import HttpSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def limited(settings: Settings, api_key: str) -> Iterator[FlaskClient]:
    """A client of a service that lets a key make 2 jobs and send 3 other requests in a minute."""
    http = HttpSettings(rate_limit_creates_per_minute=2, rate_limit_requests_per_minute=3)
    app = create_app(settings.model_copy(update={"http": http}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    yield client
    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()


def test_a_key_that_asks_too_often_is_told_so_in_the_words_that_users_know(
    limited: FlaskClient, version: ModelVersion
) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    replies = [limited.post("/v1/predictions", json=body) for _ in range(2 + BURST + 1)]
    assert [reply.status_code for reply in replies] == [201] * (2 + BURST) + [429]
    assert [reply.headers["RateLimit-Limit"] for reply in replies] == ["2"] * len(replies)
    assert [reply.headers["RateLimit-Remaining"] for reply in replies[-4:]] == ["2", "1", "0", "0"]
    refusal = replies[-1]
    seconds = refusal.headers["Retry-After"]
    assert refusal.headers["RateLimit-Reset"] == seconds and 1 <= int(seconds) <= 30
    assert refusal.content_type == "application/problem+json" and refusal.json is not None
    assert refusal.json["detail"] == f"Request was throttled. Your rate limit resets in ~{seconds}s."
    assert refusal.json["code"] == "too-many-requests"


def test_other_requests_are_counted_apart_from_creates_and_each_key_by_itself(
    limited: FlaskClient, version: ModelVersion, make_key: Callable[..., str]
) -> None:
    answers = [limited.get("/v1/models").status_code for _ in range(3 + BURST + 2)]
    assert answers == [200] * (3 + BURST) + [429, 429]
    body = {"version": version.id, "input": {"image": PIXEL}}
    assert limited.post("/v1/models/ada/digits/predictions", json=body).status_code == 201
    other = {"Authorization": f"Bearer {make_key()}"}
    assert limited.get("/v1/models", headers=other).status_code == 200
    assert limited.get("/livez").status_code == 200


def test_tokens_of_pages_count_against_the_key_that_made_them(
    limited: FlaskClient, version: ModelVersion, make_key: Callable[..., str]
) -> None:
    def status(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return limited.post(
            "/v1/models/ada/digits/predictions", json={"input": {"image": PIXEL}}, headers=headers
        ).status_code

    own = limited.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    tokens = [limited.post("/v1/browser-tokens", json={"model": "ada/digits"}).json["token"] for _ in range(3)]  # type: ignore[index]

    answers = [status(tokens[number % 3]) for number in range(2 + BURST)]

    assert answers == [201] * (2 + BURST)
    assert [status(key) for key in (*tokens, own, make_key())] == [429, 429, 429, 429, 201]


def test_without_a_limit_nothing_is_counted(client: FlaskClient, redis: Redis) -> None:
    reply = client.get("/v1/models")
    assert not [name for name, _ in reply.headers if name.startswith("RateLimit")]
    assert redis.keys("headrace:rate:*") == []


def test_a_bucket_gives_exactly_what_it_holds_to_many_at_once(redis: Redis, settings: Settings) -> None:
    limits, barrier = RateLimits(redis, settings), threading.Barrier(40)

    def take(_: int) -> Any:
        barrier.wait()
        return limits.take("creates", "k", 10)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(take, range(40)))
    assert sum(answer.is_allowed for answer in answers) == 10 + BURST


def test_a_bucket_refills_evenly_and_no_further_than_it_holds(redis: Redis, settings: Settings) -> None:
    limits, name = RateLimits(redis, settings), "headrace:rate:creates:k"

    def age(milliseconds: int) -> None:
        redis.hincrby(name, "at", -milliseconds)

    assert limits.take("creates", "k", 60).remaining == 59 + BURST
    assert 0 < redis.pttl(name) <= 66_000
    redis.hset(name, "tokens", "0.25")
    denied = limits.take("creates", "k", 60)
    assert not denied.is_allowed and 0 < denied.next_seconds <= 0.75
    age(1000)
    allowed = limits.take("creates", "k", 60)
    assert allowed.is_allowed and allowed.remaining == 0
    age(3_600_000)
    assert limits.take("creates", "k", 60).remaining == 59 + BURST
    age(-60_000)  # a clock that was put back takes nothing away
    assert limits.take("creates", "k", 60).remaining == 58 + BURST
