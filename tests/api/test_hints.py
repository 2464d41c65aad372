import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.models.version import ModelVersion
from shared.settings import Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def detail(reply: Any, status: int) -> str:
    """Checks the status of a problem document, and returns its sentence."""
    assert reply.status_code == status, reply.data
    assert reply.content_type == "application/problem+json"
    return str(reply.json["detail"])


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/v1/hardware", 404, "any text will do"),
        ("GET", "/v1/deployments", 404, "owner/name"),
        ("POST", "/v1/deployments/ada/digits/predictions", 404, "owner/name"),
        ("GET", "/v1/collections", 404, "GET /v1/models"),
        ("GET", "/v1/search?query=cats", 404, "GET /v1/models"),
        ("GET", "/v1/webhooks/default/secret", 404, "Prefer: wait"),
        ("QUERY", "/v1/models", 405, "GET /v1/models"),
    ],
)
def test_what_the_contract_has_and_comes_later_says_so_and_what_to_do(
    client: FlaskClient, method: str, path: str, status: int, word: str
) -> None:
    said = detail(client.open(path, method=method), status)
    assert "not supported yet" in said and word in said


@pytest.mark.parametrize("path", ["/predictions", "/files", "/v1/prediction", "/v1", "/"])
def test_a_path_where_nothing_is_says_which_paths_there_are(client: FlaskClient, path: str) -> None:
    said = detail(client.post(path), 404)
    assert f"nothing at {path};" in said
    assert "/v1/predictions" in said and "docs/http.md" in said


def test_too_many_parts_say_how_many_there_may_be(
    client: FlaskClient, version: ModelVersion, settings: Settings
) -> None:
    rows = settings.inference.max_job_rows
    parts = [(io.BytesIO(b"x"), f"{number}.png", "image/png") for number in range(rows + 20)]
    said = detail(client.post("/v1/models/ada/digits/predictions", data={"image": parts}), 413)
    assert f"more than {rows + 16} parts" in said and f"{rows} rows" in said
    parts = [(io.BytesIO(b"x"), f"{number}.png", "image/png") for number in range(rows + 1)]
    said = detail(client.post("/v1/models/ada/digits/predictions", data={"image": parts}), 413)
    assert f"a job may have {rows}" in said


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/models/ada/cats/versions"])
def test_too_many_parts_of_an_upload_say_how_many_there_may_be(client: FlaskClient, path: str) -> None:
    form = {"file": (io.BytesIO(b"x"), "a"), **{f"field{number}": "x" for number in range(20)}}
    assert "more than 16 parts" in detail(client.post(path, data=form), 413)
    head = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    large = {"data": head + b"x" * (2 << 20) + b"\r\n--b--\r\n", "content_type": "multipart/form-data; boundary=b"}
    assert "a field of more than 1048576 bytes" in detail(client.post(path, **large), 413)


@pytest.mark.parametrize(
    ("extra", "field", "word"),
    [
        ({"description": "x" * 10_001}, "description", "10001 characters and may have 10000"),
        ({"description": ["x"]}, "description", "a text"),
        ({"github_url": "javascript:alert(1)"}, "github_url", "https://"),
        ({"paper_url": "file:///etc/passwd"}, "paper_url", "https://"),
        ({"license_url": "https://"}, "license_url", "https://"),
        ({"license_url": "https:///path"}, "license_url", "https://"),
        ({"cover_image_url": "https://example.org/a b"}, "cover_image_url", "https://"),
        ({"cover_image_url": "example.org"}, "cover_image_url", "https://"),
    ],
)
def test_a_model_with_facts_that_cannot_be_is_refused_by_a_sentence_on_it(
    client: FlaskClient, extra: dict[str, Any], field: str, word: str
) -> None:
    reply = client.post("/v1/models", json={"owner": "ada", "name": "new", **extra})
    assert word in detail(reply, 422)
    assert reply.json is not None and reply.json["invalid_fields"][0]["field"] == field


def test_an_address_of_a_model_may_be_any_of_http(client: FlaskClient) -> None:
    addresses = {"github_url": "https://github.com/ada/new", "paper_url": "HTTP://[::1]:80/a?b#c"}
    model = client.post("/v1/models", json={"owner": "ada", "name": "new", **addresses}).json
    assert model is not None and {name: model[name] for name in addresses} == addresses


def test_what_is_no_name_is_refused_with_the_rule(client: FlaskClient, version: ModelVersion) -> None:
    rule = "lower-case letters, digits, dots, dashes and underscores"
    body = {"version": version.id}
    assert rule in detail(client.put("/v1/models/ada/digits/aliases/No", json=body), 422)
    form = {"file": (io.BytesIO(b"x"), "a.keras"), "alias": "-"}
    assert rule in detail(client.post("/v1/models/ada/digits/versions", data=form), 422)
    assert rule in detail(client.post("/v1/models", json={"owner": "ada", "name": "No"}), 422)


@pytest.mark.parametrize("value", [{}, "completed", 1, [1], [["completed"]], [{}], ["finished"]])
def test_a_filter_of_events_that_is_none_is_refused(client: FlaskClient, version: ModelVersion, value: Any) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}, "webhook_events_filter": value}
    assert "completed" in detail(client.post("/v1/predictions", json=body), 422)


@pytest.mark.parametrize("value", [5, 0, False, ["x"], {"a": 1}])
def test_a_version_of_a_wrong_type_must_be_a_text(client: FlaskClient, version: ModelVersion, value: Any) -> None:
    body = {"version": value, "input": {"image": PIXEL}}
    for path in ("/v1/predictions", "/v1/models/ada/digits/predictions"):
        assert "version must be a text" in detail(client.post(path, json=body), 422)
