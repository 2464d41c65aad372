import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.models.version import ModelVersion

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PREDICTIONS = "/v1/models/ada/digits/predictions"


def refused(reply: Any, field: str) -> str:
    """Checks that a reply refuses a field, and returns its sentence."""
    assert reply.status_code == 422, reply.data
    assert reply.json["invalid_fields"][0]["field"] == field
    return str(reply.json["detail"])


def test_options_in_the_query_beside_json_or_multipart_are_refused(
    client: FlaskClient, version: ModelVersion, count_jobs: Callable[..., int]
) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    for path in ("/v1/predictions", PREDICTIONS):
        assert "input" in refused(client.post(f"{path}?top_k=2", json=body), "top_k")
        form = {"version": version.id, "image": (io.BytesIO(b"png"), "a.png", "image/png")}
        assert "input" in refused(client.post(f"{path}?threshold=0.5", data=form), "threshold")
    assert count_jobs() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("POST", "/v1/models/ada/digits/versions"),
        ("POST", "/v1/models/headrace/image-classifier/versions/latest/trainings"),
        ("PUT", "/v1/models/ada/digits/aliases/production"),
        ("POST", "/v1/datasets"),
    ],
)
def test_every_path_that_takes_a_body_refuses_a_query(
    client: FlaskClient, version: ModelVersion, method: str, path: str
) -> None:
    refused(client.open(f"{path}?colour=red", method=method, json={}), "colour")


@pytest.mark.parametrize(
    ("method", "query", "field"),
    [
        ("GET", "/v1/jobs?limit=1&limit=2", "limit"),
        ("GET", "/v1/models?cursor=a&cursor=b", "cursor"),
        ("GET", "/v1/jobs/JOB?wait=0&wait=5", "wait"),
        ("GET", "/v1/predictions/JOB?wiat=5", "wiat"),
        ("DELETE", "/v1/models/ada/digits?force=true&force=false", "force"),
        ("DELETE", "/v1/models/ada/digits?force=yes", "force"),
        ("POST", f"{PREDICTIONS}?top_k=1&top_k=2", "top_k"),
    ],
)
def test_a_name_that_comes_twice_or_means_nothing_is_refused(
    client: FlaskClient, version: ModelVersion, method: str, query: str, field: str
) -> None:
    job = client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL}}).json
    assert job is not None
    image = {"data": b"png", "content_type": "image/png"} if method == "POST" else {}
    refused(client.open(query.replace("JOB", job["id"]), method=method, **image), field)
    assert client.get("/v1/models/ada/digits").status_code == 200


@pytest.mark.parametrize("text", ["\uff11", "\u0661", "1_0", " 1", "9" * 5000, "1e0", ""])
def test_numbers_of_the_query_are_plain_digits(client: FlaskClient, version: ModelVersion, text: str) -> None:
    refused(client.get("/v1/jobs", query_string={"limit": text}), "limit")
    reply = client.post(PREDICTIONS, query_string={"top_k": text}, data=b"png", content_type="image/png")
    refused(reply, "input.top_k")


@pytest.mark.parametrize("text", ["nan", "inf", "\uff10.5", "1e999", "0x1"])
def test_a_threshold_of_the_query_is_a_plain_number(client: FlaskClient, version: ModelVersion, text: str) -> None:
    reply = client.post(PREDICTIONS, query_string={"threshold": text}, data=b"png", content_type="image/png")
    refused(reply, "input.threshold")


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), (".5", 0.5), ("1", 1), ("1e-05", 1e-05), ("0.", 0)])
def test_a_threshold_of_the_query_is_read_as_clients_write_it(
    client: FlaskClient, version: ModelVersion, text: str, value: float
) -> None:
    reply = client.post(PREDICTIONS, query_string={"threshold": text}, data=b"png", content_type="image/png")
    assert reply.status_code == 201
    assert reply.json is not None and reply.json["input"]["threshold"] == value
