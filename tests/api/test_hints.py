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


@pytest.mark.parametrize("path", ["/prediction", "/v1/prediction", "/v1", "/v2/predictions"])
def test_a_path_where_nothing_is_says_which_paths_there_are(client: FlaskClient, path: str) -> None:
    said = detail(client.post(path), 404)
    assert f"nothing at {path};" in said
    assert "/v1/predictions" in said and "docs/http.md" in said


def test_fields_that_do_not_fit_are_lines_as_users_know_them(client: FlaskClient, version: ModelVersion) -> None:
    reply = client.post("/v1/predictions", json={"version": version.id, "input": {"picture": 1}})
    assert reply.json is not None and reply.json["title"] == "Input validation failed"
    first, second, end = detail(reply, 422).split("\n")
    assert first.startswith("- input.picture: The model has no input 'picture'")
    assert (second, end) == ("- input: image is required.", "")
    fields = reply.json["invalid_fields"]
    assert [field["field"] for field in fields] == ["input.picture", "input"]
    assert fields[1] == {"type": "required", "field": "input", "description": "image is required."}
    deployment = client.post("/v1/deployments", json={"name": "x", "hardware": 3})
    assert "- hardware: hardware must be a text.\n" in detail(deployment, 422)


def test_the_client_that_the_javascript_client_sends_as_input_is_refused_and_nothing_of_it_repeated(
    client: FlaskClient, version: ModelVersion, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    sent = {"auth": "hr_secret", "baseUrl": "https://example.org", "fileEncodingStrategy": "data-uri", "image": PIXEL}
    for path in ("/v1/predictions", "/v1/models/ada/digits/predictions"):
        reply = client.post(path, json={"version": version.id, "input": sent})
        assert "fileEncodingStrategy" in detail(reply, 422)
        assert b"hr_secret" not in reply.data
    assert "hr_secret" not in caplog.text + "".join(capfd.readouterr())


def test_what_no_repetition_can_mend_says_so(client: FlaskClient, version: ModelVersion) -> None:
    reply = client.delete(f"/v1/models/ada/digits/versions/{version.id}")
    assert (reply.status_code, reply.headers["x-should-retry"]) == (409, "false")
    assert "x-should-retry" not in client.get("/v1/predictions/none").headers


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
