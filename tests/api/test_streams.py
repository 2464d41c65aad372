import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared.api_keys import ApiKeys
from shared.connections import Redis
from shared.datasets.dataset import Dataset
from shared.errors import InputError
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings
from tests.api.events import Received, events_of, named

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ANSWER = {"label": "one", "score": 0.9}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"http": HttpSettings(heartbeat_seconds=0.2, max_streams=2)})


@pytest.fixture
def predict(client: FlaskClient, version: ModelVersion) -> Callable[..., dict[str, Any]]:
    def make(image: Any = PIXEL, **keys: Any) -> dict[str, Any]:
        reply = client.post("/v1/predictions", json={"version": version.id, "input": {"image": image}, **keys})
        assert reply.status_code == 201, reply.text
        job: dict[str, Any] = reply.json or {}
        return job

    return make


@pytest.fixture
def training(queue: JobQueue) -> str:
    """A training of a recipe that waits for a worker."""
    new = NewJob(
        id=new_job_id(), kind=JobKind.TRAINING, account="ada", key_id="k", queue="training@train.cpu", pool="train.cpu",
        input=b"{}",
    )  # fmt: skip
    return queue.submit(new).id


@pytest.fixture
def get(client: FlaskClient) -> Callable[..., Any]:
    """Opens a stream; yields what comes."""

    @contextmanager
    def opened(url: str, **headers: str) -> Iterator[Iterator[Received | None]]:
        parts = urlsplit(url)
        reply = client.get(f"{parts.path}?{parts.query}", headers=headers)
        try:
            assert reply.status_code == 200, reply.text
            assert reply.content_type == "text/event-stream; charset=utf-8"
            yield events_of(reply.response)  # type: ignore[arg-type]
        finally:
            reply.close()

    return opened


def whole(get: Callable[..., Any], url: str, **headers: str) -> list[Received]:
    with get(url, **headers) as events:
        return [event for event in events if event is not None]


def test_a_prediction_has_a_stream_that_stock_clients_read_without_a_key(
    predict: Callable[..., dict[str, Any]], finish: Callable[..., int], version: ModelVersion, anonymous: FlaskClient
) -> None:
    url = predict()["urls"]["stream"]
    finish(version.id, json.dumps(ANSWER).encode())

    path = urlsplit(url).path
    for headers in ({}, {"Authorization": "Bearer of somebody else"}):
        reply = anonymous.get(path, headers=headers)
        assert named(events_of([reply.data])) == [("output", json.dumps(ANSWER, separators=(",", ":"))), ("done", "{}")]
    assert path.startswith("/v1/streams/")


def test_who_comes_late_has_every_event_and_who_comes_again_has_the_rest(
    predict: Callable[..., dict[str, Any]], finish: Callable[..., int], version: ModelVersion, get: Callable[..., Any]
) -> None:
    job = predict(stream=True)
    finish(version.id, json.dumps(ANSWER).encode())
    path = f"/v1/predictions/{job['id']}/events"

    events = whole(get, path)

    assert [event.name for event in events] == ["status", "status", "output", "metric", "status", "done"]
    assert [event.data for event in events if event.name == "status"] == ["starting", "processing", "succeeded"]
    assert events[2].json == ANSWER
    assert events[3].json.keys() >= {"queue_time", "total_time", "attempt"}
    assert events[-1].json == {"status": "succeeded"}
    assert len({event.id for event in events}) == len(events)
    for count, event in enumerate(events[:-1], 1):
        assert whole(get, path, **{"Last-Event-ID": event.id}) == events[count:]
        assert whole(get, f"{path}?last_event_id={event.id}") == events[count:]


def test_who_has_had_everything_is_told_to_rest(
    predict: Callable[..., dict[str, Any]],
    finish: Callable[..., int],
    version: ModelVersion,
    client: FlaskClient,
    get: Callable[..., Any],
) -> None:
    followed, other = predict(stream=True), predict()
    finish(version.id)

    for job in (followed, other):
        for url in (f"/v1/jobs/{job['id']}/events", urlsplit(job["urls"]["stream"]).path):
            last = whole(get, url)[-1]
            assert last.name == "done"
            assert client.get(url, headers={"Last-Event-ID": last.id}).status_code == 204


def test_a_job_that_ended_unfollowed_is_told_from_its_record_with_the_same_ids_each_time(
    predict: Callable[..., dict[str, Any]], finish: Callable[..., int], version: ModelVersion, get: Callable[..., Any]
) -> None:
    job = predict([PIXEL, PIXEL])
    finish(version.id, b'[{"label": "one"}, {"label": "zero"}]')
    path = f"/v1/predictions/{job['id']}/events"

    events = whole(get, path)

    assert named(events)[:2] == [("output", '{"label":"one"}'), ("output", '{"label":"zero"}')]
    assert [event.name for event in events[2:]] == ["metric", "status", "done"]
    assert whole(get, path) == events
    assert whole(get, path, **{"Last-Event-ID": events[0].id}) == events[1:]


def test_one_row_in_a_list_is_one_output_as_one_of_many_rows_would_be(
    predict: Callable[..., dict[str, Any]], finish: Callable[..., int], version: ModelVersion, get: Callable[..., Any]
) -> None:
    job = predict([PIXEL])
    finish(version.id, b'[{"label": "one"}]')

    assert named(whole(get, job["urls"]["stream"])) == [("output", '{"label":"one"}'), ("done", "{}")]


def test_rows_come_as_their_batch_ends_and_the_job_shows_them(
    predict: Callable[..., dict[str, Any]],
    take: Callable[..., Any],
    queue: JobQueue,
    version: ModelVersion,
    client: FlaskClient,
    get: Callable[..., Any],
) -> None:
    job = predict([PIXEL] * 3)
    claim, (taken,) = take(version.id)
    with get(job["urls"]["stream"]) as events:
        assert next(events) is None  # a heartbeat
        assert queue.emit(claim, taken.id, taken.attempt, 0, 2, b'[{"n":1},{"n":2}]') == 2
        assert [next(event for event in events if event).json for _ in range(2)] == [{"n": 1}, {"n": 2}]
        shown = client.get(f"/v1/predictions/{job['id']}").json
        assert shown is not None and (shown["status"], shown["output"]) == ("processing", [{"n": 1}, {"n": 2}])
        queue.settle(claim, [Outcome(taken.id, taken.attempt, b'[{"n":1},{"n":2},{"n":3}]')])
        assert named(events) == [("output", '{"n":3}'), ("done", "{}")]


def test_a_job_that_begins_again_says_no_item_twice_and_shows_none_meanwhile(
    predict: Callable[..., dict[str, Any]],
    take: Callable[..., Any],
    queue: JobQueue,
    version: ModelVersion,
    client: FlaskClient,
    get: Callable[..., Any],
) -> None:
    job = predict([PIXEL] * 3, stream=True)
    claim, (taken,) = take(version.id)
    queue.emit(claim, taken.id, taken.attempt, 0, 2, b"[1,2]")
    queue.release(claim)
    shown = client.get(f"/v1/predictions/{job['id']}").json
    assert shown is not None and (shown["status"], shown["output"]) == ("starting", None)
    claim, (taken,) = take(version.id)
    for _ in range(2):  # as after an answer that was lost
        queue.emit(claim, taken.id, taken.attempt, 0, 1, b"[1]")
    queue.settle(claim, [Outcome(taken.id, taken.attempt, b"[1,2,3]")])

    outputs = [event.data for event in whole(get, f"/v1/jobs/{job['id']}/events") if event.name == "output"]

    assert outputs == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("fail", [("error", '{"detail":"E1003: cut off"}'), ("done", '{"reason":"error"}')]),
        ("cancel", [("done", '{"reason":"canceled"}')]),
        ("delete", [("done", '{"reason":"canceled"}')]),
    ],
)
def test_every_end_is_said(
    predict: Callable[..., dict[str, Any]],
    take: Callable[..., Any],
    queue: JobQueue,
    version: ModelVersion,
    client: FlaskClient,
    get: Callable[..., Any],
    end: str,
    said: list[tuple[str, str]],
) -> None:
    job = predict()
    claim, (taken,) = take(version.id)
    with get(job["urls"]["stream"]) as events, get(f"/v1/jobs/{job['id']}/events") as ours:
        assert next(events) is None
        assert next(ours) is not None
        if end == "fail":
            queue.settle(claim, [Outcome(taken.id, taken.attempt, error=InputError("cut off", "E1003"))])
        elif end == "cancel":
            client.post(f"/v1/predictions/{job['id']}/cancel")
        else:
            client.delete(f"/v1/predictions/{job['id']}")
        assert named(events) == said
        assert named(ours)[-1][0] == "done"


def test_a_training_streams_status_progress_measurements_and_logs(
    training: str, queue: JobQueue, take: Callable[..., Any], get: Callable[..., Any], client: FlaskClient
) -> None:
    path = f"/v1/trainings/{training}/events"
    claim, (taken,) = take("training", "train.cpu")
    facts = json.dumps({"epoch": 1, "epochs": 2, "loss": 0.5})
    with get(path) as events:
        assert next(events).data == "processing"
        queue.progress(claim, taken.id, taken.attempt, facts=facts, log=" 50%|██  |\n", checkpoint=False)
        said = [next(event for event in events if event) for _ in range(3)]
        assert [event.name for event in said] == ["progress", "metric", "log"]
        assert (said[0].json, said[1].json) == (json.loads(facts), {"loss": 0.5})
        assert said[2].data == " 50%|██  |\n"
        queue.settle(claim, [Outcome(taken.id, taken.attempt, b'{"version": "ada/digits:1"}', metrics={"a": 1})])
        ends = list(filter(None, events))
    assert [event.name for event in ends] == ["output", "metric", "status", "done"]
    assert ends[0].json["version"] == "ada/digits:1"
    shown = client.get(f"/v1/trainings/{training}").json
    assert shown is not None and "stream" not in shown["urls"]
    assert whole(get, path)[0].data == "processing"


def test_a_reader_is_told_what_the_stream_has_let_go(
    training: str, queue: JobQueue, take: Callable[..., Any], get: Callable[..., Any], redis: Redis
) -> None:
    queue.follow(training)
    claim, (taken,) = take("training", "train.cpu")
    for step in range(20):
        queue.progress(claim, taken.id, taken.attempt, facts=f'{{"step":{step}}}', log="", checkpoint=False)
    queue.cancel(training)
    path = f"/v1/jobs/{training}/events"
    full = whole(get, path)
    redis.xtrim(f"headrace:{{a}}:events:{training}", 5, approximate=False)

    events = whole(get, path)

    assert (events[0].name, events[0].json) == ("gap", {"missed": 18})
    assert events[1:] == full[-len(events) + 1 :]
    assert whole(get, path, **{"Last-Event-ID": full[3].id})[0].name == "gap"
    assert whole(get, path, **{"Last-Event-ID": events[1].id}) == events[2:]
    assert whole(get, path, **{"Last-Event-ID": events[0].id}) == events


def test_an_unknown_place_is_the_start(
    predict: Callable[..., dict[str, Any]], finish: Callable[..., int], version: ModelVersion, get: Callable[..., Any]
) -> None:
    job = predict()
    finish(version.id)

    assert whole(get, job["urls"]["stream"], **{"Last-Event-ID": "of another server"})


@pytest.mark.parametrize("text", [" once", "a\n", "one\r\ntwo\rthree", "a\u2028b\x85c\x0bd\x1ee", "", "ünï"])
def test_texts_arrive_as_they_are_but_for_their_line_ends(
    text: str,
    predict: Callable[..., dict[str, Any]],
    finish: Callable[..., int],
    version: ModelVersion,
    get: Callable[..., Any],
) -> None:
    as_text, as_json = predict(), predict()
    finish(version.id, json.dumps(text, ensure_ascii=False).encode())

    (output, _) = whole(get, as_text["urls"]["stream"])
    lines = output.data
    for end in ("\r\n", "\r", "\u2028", "\x85", "\x0b", "\x1e"):
        text = text.replace(end, "\n")
    assert lines == text
    ours = whole(get, f"/v1/jobs/{as_json['id']}/events")[0]
    assert len(ours.data.splitlines()) == 1


def test_nobody_else_reads_a_stream(
    predict: Callable[..., dict[str, Any]],
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    anonymous: FlaskClient,
    training: str,
    client: FlaskClient,
) -> None:
    job, other = predict(), predict()
    stranger = client_of(make_key("bob"))
    events = f"/v1/predictions/{job['id']}/events"
    token = job["urls"]["stream"].rpartition("/")[2]

    assert stranger.get(events).status_code == 404
    assert anonymous.get(events).status_code == 401
    assert client_of(make_key(scopes=("predictions:write",))).get(events).status_code == 403
    for path in (other["id"], training, "nothing", new_job_id()):
        assert anonymous.get(f"/v1/streams/{path}/{token}").status_code == 404
    assert anonymous.get(f"/v1/streams/{job['id']}/9{token[1:]}").status_code == 404
    assert client.get(f"/v1/trainings/{job['id']}/events").status_code == 404


def test_a_stream_too_many_is_a_503_and_a_closed_one_makes_room(
    predict: Callable[..., dict[str, Any]], client: FlaskClient, get: Callable[..., Any]
) -> None:
    path = f"/v1/predictions/{predict()['id']}/events"
    with get(path) as first, get(path):
        assert next(first) is not None
        refused = client.get(path)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
    with get(path) as again:
        assert next(again) is not None


def test_streams_end_with_the_process_and_leave_no_done(
    predict: Callable[..., dict[str, Any]], get: Callable[..., Any], app: Flask
) -> None:
    with get(f"/v1/predictions/{predict()['id']}/events") as events:
        assert next(events) is not None
        threading.Timer(0.1, app.extensions["headrace"].waiting.dismiss).start()
        assert named(events) == []


def test_a_stream_ends_with_the_key_that_opened_it(
    predict: Callable[..., dict[str, Any]],
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    keys: ApiKeys,
) -> None:
    key = make_key(scopes=("read",))
    reply = client_of(key).get(f"/v1/predictions/{predict()['id']}/events")
    events = events_of(reply.response)  # type: ignore[arg-type]
    assert next(events) is not None and next(events) is None
    keys.revoke(key[:10])

    assert named(events) == []
    reply.close()


def test_a_training_may_ask_for_its_stream_at_once(
    client: FlaskClient, dataset: Dataset, get: Callable[..., Any], queue: JobQueue
) -> None:
    body = {"destination": "ada/digits", "input": {"dataset": "digits"}, "stream": True}
    job = client.post("/v1/models/headrace/image-classifier/versions/latest/trainings", json=body).json
    assert job is not None
    queue.cancel(job["id"])

    statuses = [event.data for event in whole(get, f"/v1/trainings/{job['id']}/events") if event.name == "status"]

    assert statuses == ["starting", "canceled"]


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_a_wish_for_a_stream_is_true_or_false(client: FlaskClient, version: ModelVersion, value: Any) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}, "stream": value}

    assert client.post("/v1/predictions", json=body).status_code == 422
