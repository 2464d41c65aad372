import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.headers import BARE_WAIT_SECONDS, read_job_headers, read_wait_query
from shared.errors import InvalidInput
from shared.models.version import ModelVersion
from shared.settings import Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait", BARE_WAIT_SECONDS),
        ('wait=""', BARE_WAIT_SECONDS),
        ("wait=5", 5),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("wait=5;foo=bar", 5),
        ("wait=5; foo", 5),
        ("wait;foo=bar", BARE_WAIT_SECONDS),
        ('wait=5; foo="a, wait=7"', 5),
        ("respond-async, wait=5", 5),
        ('foo="wait=7, wait=8", wait=5', 5),
        ('foo="a \\", wait=7", wait=5', 5),
        ("wait=5, wait=7", 5),
        ("wait=1.5", 2),
        ("wait=1.0", 1),
        ("wait=0", 0),
        ("wait=999", 60),
        ("wait=99999999999999999999", 60),
        ("wait=" + "9" * 5000, 60),
        ("wait=-5", 0),
        ("wait=soon", 0),
        ("waiting=5", 0),
        ('foo="unclosed, wait=5', 0),
        (", ,", 0),
    ],
)
def test_every_form_of_prefer_is_understood(app: Flask, settings: Settings, prefer: str, seconds: float) -> None:
    with app.test_request_context(headers={"Prefer": prefer}):
        assert read_job_headers(settings).wait.seconds == seconds


@pytest.mark.parametrize(("text", "seconds"), [("1.5", 1.5), ("999", 60), ("9" * 400, 60)])
def test_a_wait_of_the_query_is_capped_too(app: Flask, settings: Settings, text: str, seconds: float) -> None:
    with app.test_request_context(f"/?wait={text}"):
        assert read_wait_query(settings).seconds == seconds


@pytest.mark.parametrize("text", ["", "-1", "1e3", "soon", "\uff15"])
def test_a_wait_of_the_query_that_is_no_number_is_refused(app: Flask, settings: Settings, text: str) -> None:
    with app.test_request_context(query_string={"wait": text}), pytest.raises(InvalidInput):
        read_wait_query(settings)


def test_a_count_of_tries_that_is_no_count_is_passed_over(app: Flask, settings: Settings) -> None:
    with app.test_request_context(headers={"X-Stainless-Retry-Count": "9" * 5000}):
        assert read_job_headers(settings).attempt is None


def test_a_preference_with_parameters_holds_the_answer(client: FlaskClient, version: ModelVersion) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    begun = time.monotonic()
    job = client.post("/v1/predictions", json=body, headers={"Prefer": "respond-async, wait=1; foo=bar"}).json
    assert time.monotonic() - begun >= 0.95
    assert job is not None and job["status"] == "starting"
