from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.errors import JobError
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import Settings
from shared.webhooks.listeners import Listeners
from tests.receivers import Receiver, answer
from workers.outgoing.opening import open_client, open_dispatcher

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ALL = ("start", "output", "logs", "completed")
POOLS = {JobKind.TRAINING: "train.cpu", JobKind.IMPORT: "prepare", JobKind.DATASET: "prepare"}
OUTPUTS = {
    JobKind.TRAINING: {"version": f"ada/digits:{'e' * 64}", "metrics": {"accuracy": 0.5}},
    JobKind.IMPORT: {"version": f"ada/digits:{'e' * 64}"},
    JobKind.DATASET: {"name": "digits", "digest": "d" * 64},
}
PATHS = {JobKind.PREDICTION: "predictions", JobKind.TRAINING: "trainings"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver(redis: Redis, settings: Settings) -> Iterator[Receiver]:
    """Takes everything, at an address that jobs may name."""
    made = Receiver(answer(200))
    Listeners(redis, settings).add(made.address)
    yield made
    made.close()


@pytest.fixture
def io_worker(app: Flask, receiver: Receiver) -> Iterator[None]:
    """What an io worker does in the world outside; it knows the address that the test's client calls."""
    found = app.extensions["headrace"]
    public = found.settings.model_copy(
        update={"http": found.settings.http.model_copy(update={"public_url": "http://localhost"})}
    )
    dispatcher = open_dispatcher(found.redis, public, found.jobs, found.outputs, open_client(found.redis, public))
    dispatcher.start()
    yield
    dispatcher.stop()
    dispatcher.join(5)


@pytest.fixture
def told_of(client: FlaskClient, receiver: Receiver, io_worker: None, eventually: Any) -> Callable[[str, str], Any]:
    """The body of the end of a job, which is what GET answers, key for key."""

    def told(path: str, job_id: str) -> Any:
        url = f"/v1/{path}/{job_id}"
        bodies = eventually(lambda: [body for body in map(_body, receiver.requests) if _has_ended(body, job_id)])
        assert len(bodies) == 1
        answered = client.get(url)
        assert answered.status_code == 200
        assert bodies[0] == answered.json
        assert list(bodies[0]) == list(orjson.loads(answered.data)), "in the same order"
        return bodies[0]

    return told


def _body(request: Any) -> Any:
    return orjson.loads(request.body)


def _has_ended(body: Any, job_id: str) -> bool:
    return body["id"] == job_id and body["completed_at"] is not None


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
def test_the_end_of_a_prediction_is_told_as_get_answers_it(
    status: str, client: FlaskClient, version: ModelVersion, receiver: Receiver, take: Any, queue: JobQueue,
    told_of: Any,
) -> None:  # fmt: skip
    given = {"version": version.id, "input": {"image": PIXEL}, "webhook": receiver.url, "stream": True}
    made = client.post("/v1/predictions", json=given, headers={"traceparent": TRACE}).json
    assert made is not None
    claim, (taken,) = take(version.id)
    assert queue.progress(claim, taken.id, taken.attempt, facts='{"done": 1}', log="größer\n", checkpoint=False)
    if status == "canceled":
        queue.cancel(taken.id)
    else:
        good = Outcome(taken.id, taken.attempt, b'{"label": "one"}', metrics={"predict_time": 0.25})
        bad = Outcome(taken.id, taken.attempt, error=JobError("The image is no image."))
        assert queue.settle(claim, [good if status == "succeeded" else bad]) == ["ok"]
    body = told_of("predictions", made["id"])
    assert (body["status"], body["logs"], body["input"]) == (status, "größer\n", {"image": PIXEL})
    assert body["output"] == ({"label": "one"} if status == "succeeded" else None)
    assert body["webhook"] == receiver.url and body["urls"]["get"].startswith("http://localhost/v1/predictions/")


@pytest.mark.parametrize("kind", [JobKind.TRAINING, JobKind.IMPORT, JobKind.DATASET])
def test_the_end_of_every_other_kind_is_told_as_get_answers_it(
    kind: JobKind, receiver: Receiver, queue: JobQueue, take: Any, told_of: Any, client: FlaskClient
) -> None:
    details = {"destination": "ada/digits"} if kind is JobKind.TRAINING else {}
    new = NewJob(
        id=new_job_id(), kind=kind, account="ada", key_id="k", queue=queue_of(kind, POOLS[kind]), pool=POOLS[kind],
        input=b'{"dataset": "digits"}', model="headrace/image-classifier", version="v" * 64, details=details,
        webhook=receiver.url, webhook_events=ALL, webhook_host=receiver.address,
    )  # fmt: skip
    queue.submit(new)
    claim, (taken,) = take(kind, POOLS[kind])
    assert queue.progress(claim, new.id, taken.attempt, facts='{"step": 3}', log="epoch 1\n", checkpoint=False)
    output = orjson.dumps(OUTPUTS[kind])
    assert queue.settle(claim, [Outcome(new.id, taken.attempt, output, metrics={"total": 1.5})]) == ["ok"]
    body = told_of(PATHS.get(kind, "jobs"), new.id)
    assert (body["status"], body["kind"], body["progress"]) == ("succeeded", kind, {"step": 3})
    if kind is JobKind.TRAINING:
        assert body["destination"] == "ada/digits"
        schemas = client.get("/v1/models/headrace/image-classifier").json["latest_version"]["openapi_schema"]  # type: ignore[index]
        form = schemas["components"]["schemas"]["TrainingOutput"]
        jsonschema.validate(body["output"], form)
        assert set(body["output"]) == set(form["properties"]) and form["required"] == ["version"]
