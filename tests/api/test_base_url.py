import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.base_url import RESOURCES
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="
BASES = ("", "/v1", "/v1/v1")


def test_every_first_part_of_a_native_path_may_stand_at_the_root(app: Flask) -> None:
    parts = {rule.rule.split("/")[2] for rule in app.url_map.iter_rules() if rule.rule.startswith("/v1/")}
    assert parts <= RESOURCES


def test_no_path_of_another_surface_is_taken_for_a_native_one(app: Flask) -> None:
    others = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules() if not rule.rule.startswith("/v1/")}
    assert not others & RESOURCES
    assert not {"livez", "readyz", "metrics", "docs", "openapi.json", "console", "v2", ""} & RESOURCES


@pytest.mark.parametrize("base", BASES)
def test_every_route_is_reached_by_every_spelling(app: Flask, client: FlaskClient, base: str) -> None:
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/v1/"):
            path = rule.build(dict.fromkeys(rule.arguments, "none"))
            assert path is not None
            reply = client.open(base + path[1].removeprefix("/v1"), method="OPTIONS")
            assert reply.status_code == 200, rule.rule


@pytest.mark.parametrize("base", BASES)
def test_every_spelling_creates_reads_and_searches(client: FlaskClient, version: ModelVersion, base: str) -> None:
    made = client.post(f"{base}/predictions", json={"version": version.id, "input": {"image": PIXEL}})
    assert made.status_code == 201 and made.json is not None
    assert made.json["urls"]["get"] == f"http://localhost/v1/predictions/{made.json['id']}"
    assert client.get(f"{base}/predictions/{made.json['id']}").status_code == 200
    found = client.open(f"{base}/models", method="QUERY", data="digits", content_type="text/plain")
    assert found.status_code == 200 and found.json is not None
    assert [model["name"] for model in found.json["results"]] == ["digits"]
    page = client.get(f"{base}/predictions?limit=1").json
    assert page is not None and page["next"] is None


@pytest.mark.parametrize(
    "path", ["/v1", "/", "/v1/v1/v1/models", "/predictionsx", "/v2/models", "//models", "/v1models"]
)
def test_what_is_no_spelling_is_404(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_path_of_the_public_url_may_stand_before_every_path(settings: Settings, api_key: str) -> None:
    public = HttpSettings(public_url="https://example.org/ml/api/")
    app = create_app(settings.model_copy(update={"http": public}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    for base in ("/ml/api", "/ml/api/v1", "/ml/api/v1/v1", "", "/v1"):
        reply = client.get(f"{base}/models/headrace/image-classifier")
        assert reply.status_code == 200 and reply.json is not None, base
        assert reply.json["url"] == "https://example.org/ml/api/v1/models/headrace/image-classifier"
    assert client.get("/ml/api/livez").status_code == 200
    assert client.get("/ml/v1/models").status_code == 404
    app.extensions["headrace"].waiting.stop()
