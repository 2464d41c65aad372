import base64
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared.artifacts import ArtifactStore
from shared.jobs.claim import Outcome
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import FilesSettings, HttpSettings, Settings

LARGE = b'{"label": "one", "score": 0.99999}'


@pytest.fixture
def public_url() -> str:
    return ""


@pytest.fixture
def settings(settings: Settings, public_url: str) -> Settings:
    files = FilesSettings(inline_output_bytes=20, data_url_bytes=40)
    return settings.model_copy(update={"http": HttpSettings(public_url=public_url), "files": files})


@pytest.fixture
def answered(
    client: FlaskClient, version: ModelVersion, app: Flask, take: Callable[..., Any], queue: JobQueue
) -> Callable[..., str]:
    """Makes a job, ends it with an output as a worker does, and returns its id."""

    def make(output: bytes = LARGE) -> str:
        value = {"image": "data:image/png;base64,iVBORw0KGgo="}
        client.post("/v1/models/ada/digits/predictions", json={"input": value})
        claim, (taken,) = take(version.id)
        written = app.extensions["headrace"].outputs.write(taken.id, taken.attempt, output)
        queue.settle(claim, [Outcome(taken.id, taken.attempt, written)])
        return str(taken.id)

    return make


def test_a_small_output_stays_where_it_was(client: FlaskClient, answered: Callable[..., str]) -> None:
    job = client.get(f"/v1/predictions/{answered(b'[1]')}").json
    assert job is not None and job["output"] == [1] and "output_file" not in job


def test_on_plain_http_it_is_a_data_url_since_stock_clients_make_a_file_of_no_http_url(
    client: FlaskClient, answered: Callable[..., str]
) -> None:
    job_id = answered()
    job = client.get(f"/v1/predictions/{job_id}").json
    assert job is not None
    media, _, data = job["output"].partition(",")
    assert (media, base64.b64decode(data)) == ("data:application/json;base64", LARGE)
    assert job["output_file"]["url"].startswith(f"http://localhost/v1/jobs/{job_id}/output?token=")
    assert job["output_file"]["size"] == len(LARGE)


def test_one_that_is_too_large_for_a_data_url_is_a_url(client: FlaskClient, answered: Callable[..., str]) -> None:
    job = client.get(f"/v1/predictions/{answered(b'[' + b' ' * 40 + b']')}").json
    assert job is not None and job["output"] == job["output_file"]["url"]


def test_a_list_reads_nothing_from_the_store(
    client: FlaskClient, answered: Callable[..., str], artifacts: ArtifactStore
) -> None:
    job_id = answered()
    artifacts.delete("outputs")
    page = client.get("/v1/predictions").json
    assert page is not None
    assert page["results"][0]["output"].startswith(f"http://localhost/v1/jobs/{job_id}/output?token=")


class TestOnHttps:
    @pytest.fixture
    def public_url(self) -> str:
        return "https://models.example.org/api"

    def test_it_is_a_signed_url_of_our_own_that_needs_no_key(
        self, client: FlaskClient, anonymous: FlaskClient, answered: Callable[..., str], public_url: str
    ) -> None:
        job_id = answered()
        job = client.get(f"/v1/predictions/{job_id}").json
        assert job is not None
        assert job["output"].startswith(f"{public_url}/v1/jobs/{job_id}/output?token=")
        path = job["output"].removeprefix(public_url)
        for headers in ({}, {"Authorization": "Bearer anything"}):
            reply = anonymous.get(path, headers=headers)
            assert (reply.status_code, reply.data) == (200, LARGE)
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
        other = answered()
        for wrong in (path[:-1] + "!", path.partition("?")[0], path.replace(job_id, other), path.replace(job_id, "x")):
            assert anonymous.get(wrong).status_code == 403

    def test_it_goes_with_its_job(
        self, client: FlaskClient, anonymous: FlaskClient, answered: Callable[..., str], public_url: str
    ) -> None:
        job_id = answered()
        url = client.get(f"/v1/predictions/{job_id}").json["output"]  # type: ignore[index]
        assert client.delete(f"/v1/predictions/{job_id}").status_code == 204
        assert anonymous.get(url.removeprefix(public_url)).status_code == 403
