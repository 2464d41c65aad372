from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared.api_keys import ApiKeys
from shared.connections import Redis
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PREDICT = "/v1/models/ada/digits/predictions"
BODY = {"input": {"image": PIXEL}}


@pytest.fixture
def token_of(client_of: Callable[[str], FlaskClient], version: ModelVersion) -> Callable[..., str]:
    def make(key: str, **wish: Any) -> str:
        reply = client_of(key).post("/v1/browser-tokens", json={"model": "ada/digits", **wish})
        assert reply.status_code == 201, reply.text
        assert reply.json is not None
        text: str = reply.json["token"]
        return text

    return make


@pytest.fixture
def page(client_of: Callable[[str], FlaskClient], token_of: Callable[..., str], api_key: str) -> FlaskClient:
    """A client that sends a token."""
    return client_of(token_of(api_key))


def test_a_page_makes_reads_streams_and_cancels_its_own_predictions(
    page: FlaskClient, finish: Callable[..., int], version: ModelVersion
) -> None:
    made = page.post(PREDICT, json={**BODY, "stream": True})
    assert made.status_code == 201
    job = made.json
    assert job is not None and job["version"] == version.id
    assert page.post(f"/v1/predictions/{page.post(PREDICT, json=BODY).json['id']}/cancel").status_code == 200  # type: ignore[index]
    finish(version.id)

    assert page.get(f"/v1/predictions/{job['id']}?wait=1").json["status"] == "succeeded"  # type: ignore[index]
    assert b"event: done" in page.get(f"/v1/predictions/{job['id']}/events").data
    assert b"event: done" in page.get(urlsplit(job["urls"]["stream"]).path).data


def test_a_page_may_do_nothing_else_on_any_route(page: FlaskClient, app: Flask, version: ModelVersion) -> None:
    allowed = {
        ("POST", "/v1/models/<owner>/<name>/predictions"),
        ("GET", "/v1/predictions/<job_id>"),
        ("GET", "/v1/predictions/<job_id>/events"),
        ("POST", "/v1/predictions/<job_id>/cancel"),
    }
    seen = set()
    for rule in app.url_map.iter_rules():
        if getattr(app.view_functions[rule.endpoint], "scope", None) == "public":
            continue
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "x").replace(f"<path:{name}>", "x")
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            status = page.open(path, method=method).status_code
            if status != 403:
                seen.add((method, rule.rule))
    assert seen <= allowed
    assert len(seen) >= 3


def test_a_page_has_only_its_model_in_production_and_no_webhook(
    page: FlaskClient, publish: Callable[..., ModelVersion], registry: ModelRegistry, version: ModelVersion
) -> None:
    other = publish(name="letters")
    registry.move_alias("ada", "letters", "production", other.id, "ada")

    assert page.post("/v1/models/ada/letters/predictions", json=BODY).status_code == 403
    assert page.post("/v1/predictions", json={**BODY, "version": version.id}).status_code == 403
    for extra in ({"version": version.id}, {"webhook": "https://example.org/hook"}):
        assert page.post(PREDICT, json={**BODY, **extra}).status_code == 403


def test_a_page_sees_no_job_of_its_key_or_of_another_page(
    page: FlaskClient,
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    token_of: Callable[..., str],
    api_key: str,
) -> None:
    of_key = client.post(PREDICT, json=BODY, headers={"Idempotency-Key": "same"}).json
    of_page = page.post(PREDICT, json=BODY, headers={"Idempotency-Key": "same"}).json
    again = page.post(PREDICT, json=BODY, headers={"Idempotency-Key": "same"}).json
    assert of_key is not None and of_page is not None and again is not None
    assert of_key["id"] != of_page["id"] == again["id"]
    other = client_of(token_of(api_key))
    for reader, job in ((page, of_key), (other, of_page)):
        path = f"/v1/predictions/{job['id']}"
        assert reader.get(path).status_code == 404
        assert reader.get(f"{path}/events").status_code == 404
        assert reader.post(f"{path}/cancel").status_code == 404
    assert client.get(f"/v1/predictions/{of_page['id']}").status_code == 200


def test_a_token_ends_with_its_time_and_with_its_key(
    client_of: Callable[[str], FlaskClient],
    token_of: Callable[..., str],
    make_key: Callable[..., str],
    keys: ApiKeys,
    redis: Redis,
    eventually: Callable[..., object],
) -> None:
    key = make_key(scopes=("read", "predictions:write"))
    page, short = client_of(token_of(key)), client_of(token_of(key, expires_in=1))
    assert page.post(PREDICT, json=BODY).status_code == short.post(PREDICT, json=BODY).status_code == 201
    eventually(lambda: short.post(PREDICT, json=BODY).status_code == 401, 5, "the end of the token")
    eventually(lambda: not [name for name in redis.keys("headrace:browser-token:*") if redis.pttl(name) < 100_000], 5)

    keys.revoke(key[:10])

    eventually(lambda: page.post(PREDICT, json=BODY).status_code == 401, 2, "the end of the key's token")


def test_a_token_is_made_by_a_key_that_may_do_the_same(
    client_of: Callable[[str], FlaskClient], make_key: Callable[..., str], version: ModelVersion, redis: Redis
) -> None:
    wish = {"model": "ada/digits"}
    for scopes in (("read",), ("predictions:write",)):
        assert client_of(make_key(scopes=scopes)).post("/v1/browser-tokens", json=wish).status_code == 403
    client = client_of(make_key(scopes=("read", "predictions:write")))
    token = client.post("/v1/browser-tokens", json=wish).json["token"]  # type: ignore[index]
    assert token.encode() not in b" ".join(redis.keys("*"))
    assert client_of("hb_" + "x" * 43).get("/v1/account").status_code == 401


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"model": "ada/nothing"}, 404),
        ({"model": "digits"}, 422),
        ({"model": "headrace/image-classifier"}, 422),
        ({"model": "ada/digits", "expires_in": 0}, 422),
        ({"model": "ada/digits", "expires_in": 86_401}, 422),
        ({"model": "ada/digits", "scopes": ["admin"]}, 422),
        ({}, 422),
    ],
)
def test_a_token_for_nothing_or_for_ever_is_not_made(
    client: FlaskClient, version: ModelVersion, wish: dict[str, Any], status: int
) -> None:
    assert client.post("/v1/browser-tokens", json=wish).status_code == status
