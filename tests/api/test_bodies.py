import base64
import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion

PNG = b"\x89PNG\r\n\x1a\n-not-really"
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def test_a_multipart_body_has_files_named_after_the_inputs(client: FlaskClient, version: ModelVersion) -> None:
    fields = {"version": version.id, "input": '{"top_k": 1}', "image": (io.BytesIO(PNG), "../a.png", "image/png")}
    job = client.post("/v1/predictions", data=fields).json
    assert job is not None
    assert job["input"] == {"top_k": 1, "image": PNG_URL}
    assert job["rows"] == 1


def test_several_parts_of_one_name_are_many_rows(client: FlaskClient, version: ModelVersion) -> None:
    parts = [(io.BytesIO(PNG), f"{number}.png", "image/png") for number in range(3)]
    job = client.post("/v1/models/ada/digits/predictions", data={"image": parts}).json
    assert job is not None
    assert (job["rows"], job["input"]) == (3, {"image": [PNG_URL] * 3})


def test_a_text_file_becomes_a_text(client: FlaskClient, publish: Callable[..., ModelVersion]) -> None:
    text = Signature(
        inputs=(TensorSpec("text", TensorKind.TEXT, "string", ()),),
        outputs=(TensorSpec("out", TensorKind.TENSOR, "float32", (1,)),),
    )
    version = publish(text, name="texts")
    fields = {"version": version.id, "text": (io.BytesIO("grüße".encode()), "a.txt")}
    job = client.post("/v1/predictions", data=fields).json
    assert job is not None and job["input"] == {"text": "grüße"}


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/webp"])
def test_a_body_may_be_the_image_itself_with_its_options_in_the_query(
    client: FlaskClient, version: ModelVersion, kind: str
) -> None:
    path = "/v1/models/ada/digits/predictions?top_k=2&threshold=0.5&priority=low"
    reply = client.post(path, data=PNG, content_type=kind)
    assert reply.status_code == 201
    assert reply.json is not None
    assert reply.json["input"] == {
        "image": PNG_URL.replace("image/png", kind),
        "top_k": 2,
        "threshold": 0.5,
        "priority": "low",
    }
    assert reply.json["priority"] == "low"


def test_json_is_taken_whatever_a_client_calls_it(client: FlaskClient, version: ModelVersion) -> None:
    raw = b'{"version": "%s", "input": {"image": "%s"}}' % (version.id.encode(), PNG_URL.encode())
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        assert client.post("/v1/predictions", data=raw, content_type=kind).status_code == 201


def test_a_type_that_is_no_type_does_not_get_into_the_data_url(client: FlaskClient, version: ModelVersion) -> None:
    fields = {"version": version.id, "image": (io.BytesIO(PNG), "a", 'x"y/z')}
    job = client.post("/v1/predictions", data=fields).json
    assert job is not None
    assert job["input"]["image"].startswith("data:application/octet-stream;base64,")
