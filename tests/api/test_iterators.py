import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared.artifacts import ArtifactStore
from shared.errors import Unavailable
from shared.jobs.claim import Outcome
from shared.jobs.queue import JobQueue
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import FilesSettings, Settings
from tests.api.conftest import CLASSIFIER, PIXEL
from tests.api.events import events_of, named

NUMBERS = Signature(
    inputs=(TensorSpec("x", TensorKind.TENSOR, "float32", (2,)),),
    outputs=(TensorSpec("y", TensorKind.TENSOR, "float32", (2,)),),
    iterates=True,
)
PATH = "/v1/models/ada/rows/predictions"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    files = FilesSettings(inline_output_bytes=40, data_url_bytes=1000)
    return settings.model_copy(update={"files": files})


@pytest.fixture
def rows(publish: Callable[..., ModelVersion], registry: ModelRegistry) -> ModelVersion:
    """A version in production that iterates, of lists of numbers."""
    made = publish(NUMBERS, name="rows")
    registry.move_alias("ada", "rows", "production", made.id, "ada")
    return made


def told(client: FlaskClient, job: dict[str, Any]) -> list[tuple[str, str]]:
    return named(events_of([client.get(urlsplit(job["urls"]["stream"]).path).data]))


def shown(client: FlaskClient, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/predictions/{job['id']}").json or {}
    return found


def test_clients_read_from_the_version_that_its_output_is_an_iterator(client: FlaskClient, rows: ModelVersion) -> None:
    version = client.get(f"/v1/models/ada/rows/versions/{rows.id}").json
    assert version is not None and version["signature"]["iterates"] is True
    output = version["openapi_schema"]["components"]["schemas"]["Output"]
    assert (output["type"], output["x-cog-array-type"], output["items"]["type"]) == ("array", "iterator", "array")


def test_a_job_shows_its_first_rows_while_it_runs_though_nobody_asked_for_a_stream(
    client: FlaskClient, rows: ModelVersion, take: Callable[..., Any], queue: JobQueue
) -> None:
    job = client.post(PATH, json={"input": {"x": [[1, 2]] * 3}}).json
    assert job is not None and (job["status"], job["output"], job["details"]) == ("starting", None, {})
    claim, (taken,) = take(rows.id)
    assert queue.emit(claim, taken.id, taken.attempt, 0, 2, b"[[1,2],[3,4]]") == 2

    running = shown(client, job)
    assert (running["status"], running["output"]) == ("processing", [[1, 2], [3, 4]])
    again = client.post(PATH, json={"input": {"x": [[1, 2]] * 3}}, headers={"Prefer": "wait=1"}).json
    assert again is not None and (again["status"], again["output"]) == ("starting", None)

    queue.settle(claim, [Outcome(taken.id, taken.attempt, b"[[1,2],[3,4],[5,6]]")])
    assert shown(client, job)["output"] == [[1, 2], [3, 4], [5, 6]]
    assert told(client, job) == [*(("output", row) for row in ("[1,2]", "[3,4]", "[5,6]")), ("done", "{}")]


def test_a_job_of_one_row_streams_one_event_for_it(
    client: FlaskClient, rows: ModelVersion, finish: Callable[..., int]
) -> None:
    job = client.post(PATH, json={"input": {"x": [1, 2]}}).json
    assert job is not None
    finish(rows.id, b"[[1,2]]")

    assert shown(client, job)["output"] == [[1, 2]]
    assert told(client, job) == [("output", "[1,2]"), ("done", "{}")]


def test_a_job_of_another_version_shows_nothing_until_it_has_ended(
    client: FlaskClient, version: ModelVersion, take: Callable[..., Any], queue: JobQueue
) -> None:
    client.post("/v1/models/ada/digits/predictions", json={"input": {"image": [PIXEL] * 3}})
    claim, (taken,) = take(version.id)
    assert queue.emit(claim, taken.id, taken.attempt, 0, 1, b"[1]") == -2


def test_an_output_too_large_for_a_reply_stays_a_list_since_clients_read_on_in_it(
    app: Flask,
    client: FlaskClient,
    rows: ModelVersion,
    take: Callable[..., Any],
    queue: JobQueue,
    artifacts: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = [[n, n] for n in range(20)]
    job = client.post(PATH, json={"input": {"x": [[1, 2]] * 20}}).json
    assert job is not None
    claim, (taken,) = take(rows.id)
    outputs = app.extensions["headrace"].outputs
    written = outputs.write(taken.id, taken.attempt, json.dumps(large).encode())
    assert written.startswith(b"artifact:")
    queue.settle(claim, [Outcome(taken.id, taken.attempt, written)])

    whole = shown(client, job)
    assert whole["output"] == large and whole["output_file"]["size"] > 40
    assert [data for name, data in told(client, job) if name == "output"] == [f"[{n},{n}]" for n in range(20)]
    page = client.get("/v1/predictions").json
    assert page is not None and page["results"][0]["output"] == whole["output_file"]["url"]

    def away(path: str) -> bytes:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(app.extensions["headrace"].artifacts, "read", away)
        assert client.get(f"/v1/predictions/{job['id']}").status_code == 503
    artifacts.delete("outputs")
    assert shown(client, job)["output"] is None


@pytest.mark.parametrize("signature", [NUMBERS, replace(CLASSIFIER, iterates=True)])
def test_its_document_is_valid_and_its_snippet_prints_rows(
    client: FlaskClient, publish: Callable[..., ModelVersion], registry: ModelRegistry, signature: Signature
) -> None:
    made = publish(signature, name="rows")
    registry.move_alias("ada", "rows", "production", made.id, "ada")
    for path in ("/v1/models/ada/rows/openapi.json", f"/v1/models/ada/rows/versions/{made.id}/openapi.json"):
        document = client.get(path).json
        assert document is not None
        OpenAPIV31SpecValidator(document).validate()
        schemas = document["components"]["schemas"]
        assert schemas["Output"]["type"] == "array"
        assert schemas["JobObject"]["properties"]["output"]["anyOf"] == [
            {"$ref": "#/components/schemas/Output"},
            {"type": "null"},
        ]
        operation = next(iter(document["paths"].values()))["post"]
        python = operation["x-codeSamples"][1]["source"]
        assert 'for row in client.run("ada/rows' in python and python.endswith("    print(row)\n")


def test_the_example_of_a_model_has_its_rows(
    client: FlaskClient, rows: ModelVersion, finish: Callable[..., int]
) -> None:
    job = client.post(PATH, json={"input": {"x": [1, 2]}}).json
    assert job is not None
    finish(rows.id, b"[[1,2]]")
    reply = client.patch("/v1/models/ada/rows", json={"default_example": job["id"]})
    assert reply.status_code == 200, reply.text
    assert reply.json is not None and reply.json["default_example"]["output"] == [[1, 2]]
