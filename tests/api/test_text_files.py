import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import create_app
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PATH = "/v1/models/ada/talk/predictions"
TALKER = Signature(
    inputs=(TensorSpec("prompt", TensorKind.TEXT, "string", ()),),
    outputs=(TensorSpec("text", TensorKind.TEXT, "string", ()),),
)
GREETING = "Grüße\nan alle"


@pytest.fixture(autouse=True)
def talker(publish: Callable[..., ModelVersion], registry: ModelRegistry) -> ModelVersion:
    made = publish(TALKER, "talk")
    registry.move_alias("ada", "talk", "production", made.id, "ada")
    return made


@pytest.fixture
def push(client: FlaskClient) -> Callable[..., Any]:
    def send(content: bytes = GREETING.encode(), of: FlaskClient = client) -> Any:
        return of.post("/v1/files", data={"content": (io.BytesIO(content), "note.txt")}).json

    return send


def given(client: FlaskClient, value: Any) -> Any:
    """What a model is given for a value, as its job shows it."""
    reply = client.post(PATH, json={"input": {"prompt": value}})
    assert reply.status_code == 201, reply.text
    job = client.get(f"/v1/predictions/{reply.json['id']}").json  # type: ignore[index]
    assert job is not None and job["details"] == {}
    return job["input"]["prompt"]


def refused(client: FlaskClient, value: Any) -> tuple[str, str]:
    reply = client.post(PATH, json={"input": {"prompt": value}})
    assert reply.status_code == 422, reply.text
    [problem] = reply.json["invalid_fields"]  # type: ignore[index]
    assert problem["field"] == "input.prompt"
    return problem["type"], problem["description"]


def data_url(content: bytes, media: str = "text/plain") -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def test_the_text_of_an_uploaded_file_is_what_a_model_is_given(
    client: FlaskClient, push: Callable[..., Any], take: Any, talker: ModelVersion
) -> None:
    file = push()
    for url in (*file["urls"].values(), f"http://[::1]:8123/v1/v1/files/{file['id']}"):
        assert given(client, url) == GREETING
    assert given(client, [file["urls"]["get"], "as it is"]) == [GREETING, "as it is"]
    assert [json.loads(job.input)["prompt"] for job in take(talker.id)[1]][:2] == [GREETING] * 2


def test_a_data_url_is_read_whatever_type_a_client_guessed(client: FlaskClient) -> None:
    for media in ("text/plain", "TEXT/CSV;charset=utf-8", "application/octet-stream", "application/json", ""):
        assert given(client, data_url(GREETING.encode(), media)) == GREETING
    assert given(client, "data:text/plain,two%20words") == "two words"
    assert given(client, data_url(b"")) == ""
    assert given(client, ["data:;base64,\r\naGVs\r\nbG8=", "there"]) == ["hello", "there"]


def test_the_mark_that_editors_put_before_a_text_is_no_part_of_it(
    client: FlaskClient, push: Callable[..., Any]
) -> None:
    marked = b"\xef\xbb\xbfhello"
    assert given(client, push(marked)["urls"]["get"]) == "hello"
    assert given(client, data_url(marked)) == "hello"
    parts = {"prompt": (io.BytesIO(marked), "note.txt")}
    job = client.post(PATH, data=parts, content_type="multipart/form-data").json
    assert job is not None and job["input"] == {"prompt": "hello"}


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/note.txt",
        "http://example.org/v1/files/" + "a" * 26,
        "http://localhost:3000/files/report",
        "http://localhost/v1/files",
        "http://localhost/v1/files/" + "a" * 26 + " is where it lies",
        "data: what models eat",
        "data:text/plain;base64,aGVsbG8= is hello",
        "data:image/png,abc",
        "artifact:files/x/content",
    ],
)
def test_a_text_that_is_or_begins_with_a_url_of_somebody_else_stays_a_text(client: FlaskClient, text: str) -> None:
    assert given(client, text) == text


def test_what_is_no_text_is_refused_in_a_sentence(client: FlaskClient, push: Callable[..., Any]) -> None:
    image = b"\x89PNG\r\n\x1a\n"
    for value in (push(image)["urls"]["get"], data_url(image, "image/png"), ["fine", data_url(b"\xff")]):
        assert refused(client, value)[1] == "The file must be a text in UTF-8."
    assert refused(client, "data:text/plain;base64,@@@")[1] == "The data URL is no sound base64."


def test_another_accounts_text_and_one_that_is_gone_are_unknown(
    client: FlaskClient,
    push: Any,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    artifacts: Any,
) -> None:
    theirs, deleted, lost = push(of=client_of(make_key("bob"))), push(), push()
    client.delete(f"/v1/files/{deleted['id']}")
    artifacts.delete(f"files/{lost['id']}")
    for url in (theirs["urls"]["get"], deleted["urls"]["download"], lost["urls"]["get"]):
        kind, sentence = refused(client, url)
        assert kind == "unknown_file" and url not in sentence


def test_a_page_reads_no_file_of_the_account_by_naming_it(
    client: FlaskClient, push: Callable[..., Any], client_of: Callable[[str], FlaskClient]
) -> None:
    token = client.post("/v1/browser-tokens", json={"model": "ada/talk"}).json["token"]  # type: ignore[index]
    assert refused(client_of(token), push()["urls"]["get"])[0] == "unknown_file"
    assert given(client_of(token), data_url(b"its own")) == "its own"


@pytest.fixture
def narrow(settings: Settings, api_key: str) -> Iterator[FlaskClient]:
    """A client of a service that takes bodies of 2,000 bytes."""
    app = create_app(settings.model_copy(update={"http": HttpSettings(max_body_bytes=2000)}), sweeps=False)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    yield client
    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()


def test_texts_in_files_are_no_longer_than_texts_in_a_body_however_often_they_are_named(
    narrow: FlaskClient, push: Callable[..., Any]
) -> None:
    url = push(b"x" * 700)["urls"]["get"]
    assert given(narrow, [url, url]) == ["x" * 700] * 2
    assert refused(narrow, [url, url, url]) == (
        "range",
        "The texts in files have more than the 2000 bytes that a request may bring.",
    )
