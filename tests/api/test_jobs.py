from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion

PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def predict(client: FlaskClient, version: ModelVersion) -> Callable[..., dict[str, Any]]:
    def make(**extra: Any) -> dict[str, Any]:
        reply = client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL, **extra}})
        job: dict[str, Any] = reply.json or {}
        return job

    return make


def _all_pages(client: FlaskClient, path: str) -> tuple[list[str], int]:
    ids, pages, url = [], 0, path
    while url:
        page = client.get(url).json
        assert page is not None
        ids += [job["id"] for job in page["results"]]
        pages += 1
        url = page["next"] or ""
        assert not url or url.startswith("http://localhost/v1/")
        url = url and f"{urlsplit(url).path}?{urlsplit(url).query}"
    return ids, pages


def test_a_list_has_every_job_once_newest_first_over_pages_with_absolute_urls(
    client: FlaskClient, predict: Callable[..., dict[str, Any]]
) -> None:
    made = [predict()["id"] for _ in range(7)]
    ids, pages = _all_pages(client, "/v1/predictions?limit=3")
    assert sorted(ids) == sorted(made)
    assert pages == 3
    times = [client.get(f"/v1/jobs/{job_id}").json["created_at"] for job_id in ids]  # type: ignore[index]
    assert times == sorted(times, reverse=True)


def test_the_page_before_is_the_one_that_was_seen(client: FlaskClient, predict: Callable[..., Any]) -> None:
    for _ in range(5):
        predict()
    first = client.get("/v1/predictions?limit=2").json
    assert first is not None and first["previous"] is None
    second = client.get(first["next"]).json
    assert second is not None
    back = client.get(second["previous"]).json
    assert back is not None
    assert [job["id"] for job in back["results"]] == [job["id"] for job in first["results"]]


def test_lists_filter_by_status_model_version_time_and_kind(
    client: FlaskClient,
    predict: Callable[..., dict[str, Any]],
    version: ModelVersion,
    publish: Callable[..., ModelVersion],
    queue: JobQueue,
) -> None:
    other = publish(content=b"other")
    old = predict()
    client.post(f"/v1/predictions/{old['id']}/cancel")
    new = client.post("/v1/predictions", json={"version": other.id, "input": {"image": PIXEL}}).json
    assert new is not None
    training = new_job_id()
    queue.submit(NewJob(training, JobKind.TRAINING, "ada", "k", "training", "train.cpu", b"{}", model="headrace/x"))

    def ids(query: str, path: str = "/v1/jobs") -> set[str]:
        return set(_all_pages(client, f"{path}?{query}")[0])

    assert ids("") == {old["id"], new["id"], training}
    assert ids("status=canceled") == {old["id"]}
    assert ids("status=starting&kind=prediction") == {new["id"]}
    assert ids(f"version={other.id}") == {new["id"]}
    assert ids("model=ada/digits") == {old["id"], new["id"]}
    assert ids("kind=training") == {training} == ids("", "/v1/trainings")
    assert ids("", "/v1/predictions") == {old["id"], new["id"]} == ids("source=api", "/v1/predictions")
    for path in ("/v1/predictions", "/v1/trainings", "/v1/jobs"):
        empty = client.get(f"{path}?source=web&limit=1").json
        assert empty == {"previous": None, "next": None, "results": []}, "every job comes by the API"
    times = {job: client.get(f"/v1/jobs/{job}").json["created_at"] for job in (old["id"], training)}  # type: ignore[index]
    assert ids(f"created_before={times[old['id']]}") == set()
    assert training in ids(f"created_after={times[training]}")
    assert ids("created_after=2020-01-01&created_before=2021-01-01T00:00:00%2B01:00") == set()
    assert ids("created_after=2020-01-01T00:00:00+01:00") == {old["id"], new["id"], training}


def test_cancel_answers_the_whole_job_and_leaves_an_ended_one_alone(
    client: FlaskClient,
    predict: Callable[..., dict[str, Any]],
    version: ModelVersion,
    finish: Callable[..., int],
) -> None:
    job = predict()
    canceled = client.post(f"/v1/predictions/{job['id']}/cancel", content_type="application/json").json
    assert canceled is not None
    assert canceled["status"] == "canceled" and canceled["input"] == {"image": PIXEL}
    assert canceled["error"] == "E1403: canceled on request" and canceled["error_code"] == "E1403"
    ended = predict()
    finish(version.id)
    again = client.post(f"/v1/predictions/{ended['id']}/cancel").json
    assert again is not None and again["status"] == "succeeded"


def test_delete_answers_204_ends_an_open_job_and_leaves_nothing(
    client: FlaskClient, predict: Callable[..., dict[str, Any]], redis: Redis
) -> None:
    job = predict()
    assert client.delete(f"/v1/predictions/{job['id']}").status_code == 204
    assert client.get(f"/v1/predictions/{job['id']}").status_code == 404
    assert client.delete(f"/v1/predictions/{job['id']}").status_code == 404
    assert [name for name in redis.keys("*") if job["id"].encode() in name] == []
    page = client.get("/v1/predictions").json
    assert page is not None and page["results"] == []


def test_a_job_of_any_kind_is_read_and_canceled_under_predictions_too(client: FlaskClient, queue: JobQueue) -> None:
    training = new_job_id()
    details = {"destination": "ada/cats", "upload": "uploads/x"}
    new = NewJob(training, JobKind.TRAINING, "ada", "k", "training", "train.cpu", b'{"epochs":1}', details=details)
    queue.submit(new)
    for path in ("predictions", "trainings", "jobs"):
        job = client.get(f"/v1/{path}/{training}").json
        assert job is not None
        assert (job["kind"], job["input"], job["destination"]) == ("training", {"epochs": 1}, "ada/cats")
        assert job["details"] == {"destination": "ada/cats"}
        assert job["urls"]["get"].endswith(f"/v1/trainings/{training}")
    canceled = client.post(f"/v1/predictions/{training}/cancel").json
    assert canceled is not None and canceled["status"] == "canceled"


def test_a_prediction_is_no_training(client: FlaskClient, predict: Callable[..., dict[str, Any]]) -> None:
    job = predict()
    assert client.get(f"/v1/trainings/{job['id']}").status_code == 404
    assert client.post(f"/v1/trainings/{job['id']}/cancel").status_code == 404
    assert client.delete(f"/v1/trainings/{job['id']}").status_code == 404


def test_the_place_in_the_queue_is_told(client: FlaskClient, predict: Callable[..., dict[str, Any]]) -> None:
    jobs = [predict() for _ in range(3)]
    seen = [client.get(f"/v1/predictions/{job['id']}").json for job in jobs]
    assert [job["queue_position"] for job in seen if job is not None] == [0, 1, 2]
    assert all(job is not None and job["estimated_wait_seconds"] is None for job in seen)


def test_an_input_larger_than_redis_takes_is_shown_whole(client: FlaskClient, version: ModelVersion) -> None:
    import base64

    large = "data:image/png;base64," + base64.b64encode(b"x" * 400_000).decode()
    job = client.post("/v1/predictions", json={"version": version.id, "input": {"image": large}}).json
    assert job is not None
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None and seen["input"] == {"image": large}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=done", "status"),
        ("source=elsewhere", "source"),
        ("source=web&cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("created_after=yesterday", "created_after"),
        ("cursor=%21%21", "cursor"),
        ("stauts=failed", "stauts"),
        ("kind=cat", "kind"),
    ],
)
def test_filters_that_do_not_exist_are_422(client: FlaskClient, query: str, field: str) -> None:
    reply = client.get(f"/v1/jobs?{query}")
    assert reply.status_code == 422
    assert reply.json is not None and reply.json["invalid_fields"][0]["field"] == field


def test_a_wait_that_is_no_number_is_422(client: FlaskClient, version: ModelVersion) -> None:
    job = client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL}}).json
    assert job is not None
    assert client.get(f"/v1/predictions/{job['id']}?wait=long").status_code == 422
