from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PAGE = "https://app.example.org"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"http": HttpSettings(cors_origins=(PAGE,))})


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/jobs/x/events", "/v1/v1/models", "/files", "/nothing"])
def test_a_preflight_needs_no_key_on_any_path(anonymous: FlaskClient, path: str) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,prefer",
    }
    reply = anonymous.options(path, headers=asked)

    assert reply.status_code == 204
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    allowed = reply.headers["Access-Control-Allow-Headers"].lower().split(", ")
    wanted = {"authorization", "prefer", "idempotency-key", "content-type", "cancel-after", "last-event-id"}
    assert wanted <= set(allowed)
    assert {"GET", "POST", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))


def test_every_reply_carries_the_headers_errors_too(
    client: FlaskClient, anonymous: FlaskClient, version: ModelVersion
) -> None:
    made = client.post(
        "/v1/predictions",
        json={"version": version.id, "input": {"image": "data:image/png;base64,iVBORw0KGgo="}},
        headers={"Origin": PAGE},
    )
    assert made.status_code == 201
    replies = [
        made,
        anonymous.get("/v1/models", headers={"Origin": PAGE}),
        client.get("/v1/predictions/nothing", headers={"Origin": PAGE}),
        client.put("/livez", headers={"Origin": PAGE}),
        client.post("/v1/predictions", data="no JSON", headers={"Origin": PAGE}),
    ]
    assert [reply.status_code for reply in replies] == [201, 401, 404, 405, 422]
    for reply in replies:
        assert reply.headers["Access-Control-Allow-Origin"] == PAGE
        exposed = reply.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Retry-After", "RateLimit-Remaining"} <= set(exposed)
        assert "Origin" in reply.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in reply.headers


def test_another_origin_is_not_let_in(anonymous: FlaskClient) -> None:
    for origin in ("https://evil.example", f"{PAGE}.evil.example", "null"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for reply in (anonymous.options("/v1/predictions", headers=asked), anonymous.get("/livez", headers=asked)):
            assert "Access-Control-Allow-Origin" not in reply.headers
            assert reply.headers["Vary"] == "Origin"


class TestWithoutTheSetting:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"http": HttpSettings()})

    def test_no_page_is_let_in(self, anonymous: FlaskClient) -> None:
        reply = anonymous.get("/livez", headers={"Origin": PAGE})
        assert not [name for name in dict(reply.headers) if name.startswith("Access-Control")]


class TestForEveryPage:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"http": HttpSettings(cors_origins=("*",))})

    def test_all_are_let_in(self, anonymous: FlaskClient, make_key: Callable[..., str]) -> None:
        assert anonymous.get("/livez", headers={"Origin": "null"}).headers["Access-Control-Allow-Origin"] == "*"
