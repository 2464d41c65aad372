import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outgoing import Outgoing
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.version import ModelVersion
from shared.settings import Settings
from shared.webhooks.signing import message_id, verify
from tests.receivers import Receiver, answer
from workers.outgoing.opening import open_client, open_dispatcher

PIXEL = "data:image/png;base64,iVBORw0KGgo="
HOOK = "https://example.org/hook?user=1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(answer(200))
    yield made
    made.close()


@pytest.fixture
def io_worker(app: Flask, receiver: Receiver) -> Iterator[None]:
    """What an io worker does in the world outside."""
    found = app.extensions["headrace"]
    dispatcher = open_dispatcher(
        found.redis, found.settings, found.jobs, found.outputs, open_client(found.redis, found.settings)
    )
    dispatcher.start()
    yield
    dispatcher.stop()
    dispatcher.join(5)


def create(client: FlaskClient, version: ModelVersion, **keys: Any) -> Any:
    return client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL}, **keys})


@pytest.mark.parametrize(
    ("told", "events"),
    [
        ({"webhook": HOOK}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": None}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": []}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": ["completed", "start"]}, ["start", "completed"]),
        ({"webhook_completed": HOOK}, ["completed"]),
        ({"webhook_completed": HOOK, "webhook_events_filter": ["start"]}, ["completed"]),
        ({"webhook": HOOK, "webhook_completed": HOOK, "webhook_events_filter": ["logs"]}, ["logs", "completed"]),
    ],
)
def test_a_job_shows_where_its_webhooks_go_and_of_what(
    client: FlaskClient, version: ModelVersion, told: dict[str, Any], events: list[str]
) -> None:
    made = create(client, version, **told)
    assert made.status_code == 201, made.text
    for shown in (made.json, client.get(f"/v1/predictions/{made.json['id']}").json):
        assert (shown["webhook"], shown["webhook_events_filter"]) == (HOOK, events)


def test_a_job_without_a_webhook_shows_none(client: FlaskClient, version: ModelVersion) -> None:
    shown = create(client, version, webhook="", webhook_events_filter=["completed"]).json
    assert "webhook" not in shown and "webhook_events_filter" not in shown
    log = client.get(f"/v1/predictions/{shown['id']}/webhook-deliveries").json
    assert log == {"previous": None, "next": None, "results": [], "webhook": None, "webhook_events_filter": []}


@pytest.mark.parametrize("field", ["webhook", "webhook_completed"])
def test_a_url_that_we_would_never_call_is_refused_by_its_field(
    client: FlaskClient, version: ModelVersion, field: str, count_jobs: Callable[..., int]
) -> None:
    for url in (
        "example.org", "ftp://example.org/", "http://", "https://user:word@example.org/", "http://127.0.0.1:8000/",
        "http://169.254.169.254/latest", "http://[::1]/", "http://0x7f.1/", "http://10.0.0.1:9000/", "https://a b/", 5,
        ["https://example.org"],
    ):  # fmt: skip
        reply = create(client, version, **{field: url})
        assert reply.status_code == 422, url
        assert reply.json["invalid_fields"][0]["field"] == field
    assert count_jobs() == 0


def test_two_receivers_of_one_job_are_refused(client: FlaskClient, version: ModelVersion) -> None:
    reply = create(client, version, webhook=HOOK, webhook_completed="https://example.org/other")
    assert reply.json["invalid_fields"][0]["field"] == "webhook_completed"


def test_multipart_bodies_trainings_and_uploads_take_webhooks_too(
    client: FlaskClient, version: ModelVersion, dataset: Any
) -> None:
    fields = {"webhook": HOOK, "webhook_events_filter": "start, completed"}
    form = {"version": version.id, "input": f'{{"image": "{PIXEL}"}}', **fields}
    made = client.post("/v1/predictions", data=form, content_type="multipart/form-data")
    assert made.status_code == 201, made.text
    assert made.json["webhook_events_filter"] == ["start", "completed"]

    for path, more in (("/v1/datasets", {"name": "x"}), ("/v1/models/ada/cats/versions", {})):
        form = {"file": (io.BytesIO(b"x"), "a.zip"), "webhook": HOOK, "webhook_events_filter": '["logs"]', **more}
        made = client.post(path, data=form)
        assert (made.json["webhook"], made.json["webhook_events_filter"]) == (HOOK, ["logs"]), made.text
    recipe = client.get("/v1/models/headrace/image-classifier").json["latest_version"]["id"]
    body = {"destination": "ada/cats", "input": {"dataset": "digits"}, "webhook_completed": HOOK}
    made = client.post(f"/v1/models/headrace/image-classifier/versions/{recipe}/trainings", json=body)
    assert (made.json["webhook"], made.json["webhook_events_filter"]) == (HOOK, ["completed"]), made.text


def test_the_secret_is_the_accounts_own_and_changes_when_it_is_rotated(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str]
) -> None:
    first = client.get("/v1/webhooks/default/secret").json
    assert first["old"] == [] and len(base64.b64decode(first["key"].removeprefix("whsec_"), validate=True)) == 32
    assert client.get("/webhooks/default/secret").json == first
    assert client_of(make_key("bob")).get("/v1/webhooks/default/secret").json["key"] != first["key"]
    rotated = client.post("/v1/webhooks/default/secret/rotate").json
    assert rotated["key"] != first["key"] and [old["key"] for old in rotated["old"]] == [first["key"]]
    at_once = client.post("/v1/webhooks/default/secret/rotate", json={"overlap_seconds": 0}).json
    assert [old["key"] for old in at_once["old"]] == [first["key"]]
    refused = client.post("/v1/webhooks/default/secret/rotate", json={"overlap_seconds": -1})
    assert refused.json["invalid_fields"][0]["field"] == "overlap_seconds"


def test_each_route_needs_its_scope(client_of: Callable[[str], FlaskClient], make_key: Callable[..., str]) -> None:
    reader, writer = client_of(make_key(scopes=("read",))), client_of(make_key(scopes=("webhooks:write",)))
    assert reader.get("/v1/webhooks/dead-letters").status_code == 200
    assert reader.get("/v1/webhooks/default/secret").status_code == 403
    for path in ("default/secret/rotate", "default/test", "dead-letters/replay", "listeners"):
        assert reader.post(f"/v1/webhooks/{path}", json={}).status_code == 403
    assert writer.post("/v1/webhooks/dead-letters/replay").json == {"replayed": 0}
    assert writer.post("/v1/webhooks/listeners", json={"address": "127.0.0.1:1"}).status_code == 403
    assert client_of(make_key(scopes=("webhooks:read",))).get("/v1/webhooks/default/secret").status_code == 200


def test_a_listener_is_reached_by_webhooks_only_while_it_is_registered(
    client: FlaskClient, version: ModelVersion
) -> None:
    url = "http://127.0.0.1:8099/hook"
    assert create(client, version, webhook=url).status_code == 422
    made = client.post("/v1/webhooks/listeners", json={"address": "127.0.0.1:8099"})
    assert made.status_code == 201 and made.json["address"] == "127.0.0.1:8099" and made.json["expires_at"]
    assert create(client, version, webhook=url).status_code == 201
    assert create(client, version, webhook="http://127.0.0.1:8098/hook").status_code == 422
    assert client.delete("/v1/webhooks/listeners/127.0.0.1:8099").status_code == 204
    assert create(client, version, webhook=url).status_code == 422
    refused = client.post("/v1/webhooks/listeners", json={"address": "10.0.0.1:80"})
    assert refused.json["invalid_fields"][0]["field"] == "address"


def test_a_test_message_is_signed_and_its_fate_is_the_answer(
    client: FlaskClient, io_worker: None, receiver: Receiver
) -> None:
    client.post("/v1/webhooks/listeners", json={"address": receiver.address})
    answered = client.post("/v1/webhooks/default/test", json={"url": receiver.url})
    assert answered.status_code == 200 and answered.json["delivered"] is True, answered.text
    (request,) = receiver.requests
    verify(client.get("/v1/webhooks/default/secret").json["key"], request.headers, request.body)
    assert request.json()["id"] == answered.json["id"] and request.json()["kind"] == "test"
    receiver.behaviour = answer(404, b"no such hook")
    failed = client.post("/v1/webhooks/default/test", json={"url": receiver.url}).json
    assert failed["delivered"] is False
    assert (failed["attempt"]["status"], failed["attempt"]["reply"]) == (404, "no such hook")
    refused = client.post("/v1/webhooks/default/test", json={"url": "http://10.0.0.1/"})
    assert refused.json["invalid_fields"][0]["field"] == "url"


def test_the_trace_of_a_create_is_kept_with_its_job_and_sent_with_its_webhooks(
    client: FlaskClient, version: ModelVersion, dataset: Any, io_worker: None, receiver: Receiver, jobs: JobStore,
    finish: Callable[[str], int], eventually: Any,
) -> None:  # fmt: skip
    client.post("/v1/webhooks/listeners", json={"address": receiver.address})
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"version": version.id, "input": {"image": PIXEL}, "webhook_completed": receiver.url}
    form = {"version": version.id, "image": (io.BytesIO(b"x"), "cat.png"), "webhook_completed": receiver.url}
    model = "/v1/models/headrace/image-classifier"
    recipe = f"{model}/versions/{client.get(model).json['latest_version']['id']}"
    training = {"destination": "ada/cats", "input": {"dataset": "digits"}}
    headers = {"traceparent": trace}
    made = [
        client.post("/v1/predictions", json=body, headers=headers),
        client.post("/v1/predictions", data=form, headers=headers, content_type="multipart/form-data"),
        client.post(f"{recipe}/trainings", json=training, headers=headers),
    ]
    assert [reply.status_code for reply in made] == [201, 201, 201], [reply.text for reply in made]
    assert [jobs.get(reply.json["id"]).traceparent for reply in made] == [trace] * 3
    # One that is none is not passed on, and no reason to refuse the job.
    odd = client.post("/v1/predictions", json=body, headers={"traceparent": f"{trace}; x=1"})
    assert odd.status_code == 201 and jobs.get(odd.json["id"]).traceparent == ""
    assert finish(version.id) == 3
    eventually(lambda: len(receiver.requests) == 3)
    sent = {request.json()["id"]: request.headers.get("traceparent") for request in receiver.requests}
    assert sent == {made[0].json["id"]: trace, made[1].json["id"]: trace, odd.json["id"]: None}


def test_what_was_given_up_is_listed_and_sent_again_with_the_id_that_it_had(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str],
    version: ModelVersion, io_worker: None, receiver: Receiver, finish: Callable[[str], int], eventually: Any,
) -> None:  # fmt: skip
    client.post("/v1/webhooks/listeners", json={"address": receiver.address})
    receiver.behaviour = answer(410)
    jobs = [create(client, version, webhook_completed=receiver.url).json["id"] for _ in range(2)]
    finish(version.id)

    def letters(client: FlaskClient = client) -> Any:
        return client.get("/v1/webhooks/dead-letters").json["results"]

    eventually(lambda: len(letters()) == 2)
    found = {letter["job_id"]: letter for letter in letters()}
    assert set(found) == set(jobs)
    letter = found[jobs[0]]
    assert letter["event"] == "completed" and letter["webhook"] == receiver.url
    assert letter["webhook_id"] == message_id(jobs[0], "completed") and letter["last_attempt"]["outcome"] == "gone"
    log = client.get(letter["urls"]["deliveries"]).json
    assert [entry["status"] for entry in log["results"]] == [410] and log["webhook"] == receiver.url

    stranger = client_of(make_key("bob"))
    assert letters(stranger) == [] and stranger.post("/v1/webhooks/dead-letters/replay").json == {"replayed": 0}
    path = f"/v1/predictions/{jobs[0]}/webhook-deliveries"
    assert stranger.get(path).status_code == stranger.post(f"{path}/redeliver").status_code == 404

    receiver.behaviour = answer(200)
    assert client.post("/v1/webhooks/dead-letters/replay", json={"jobs": [jobs[0]]}).json == {"replayed": 1}
    eventually(lambda: len(receiver.requests) == 3)
    assert [letter["job_id"] for letter in letters()] == [jobs[1]]
    assert client.post("/v1/webhooks/dead-letters/replay").json == {"replayed": 1}
    eventually(lambda: len(receiver.requests) == 4)
    assert set(receiver.ids()) == {message_id(job, "completed") for job in jobs} and letters() == []
    again = client.post(f"{path}/redeliver")
    assert (again.status_code, again.json) == (202, {"event": "completed", "webhook_id": receiver.ids()[2]})
    eventually(lambda: len(receiver.requests) == 5)
    assert client.get(f"/v1/jobs/{jobs[0]}/webhook-deliveries").json["results"][-1]["outcome"] == "delivered"


def test_dead_letters_come_in_pages_and_any_of_them_can_be_sent_again(
    client: FlaskClient, version: ModelVersion, finish: Callable[[str], int], redis: Redis, settings: Settings
) -> None:
    jobs = [create(client, version, webhook_completed=HOOK).json["id"] for _ in range(5)]
    finish(version.id)
    outgoing = Outgoing(redis, settings)
    for errand in outgoing.lease(10, per_host=10).errands:
        outgoing.dead(errand)
    seen: list[str] = []
    url = "/v1/webhooks/dead-letters?limit=2"
    while url:
        page = client.get(url).json
        seen += [letter["job_id"] for letter in page["results"]]
        url = page["next"]
    assert sorted(seen) == sorted(jobs)
    assert client.post("/v1/webhooks/dead-letters/replay", json={"jobs": [seen[-1], "unknown"]}).json == {"replayed": 1}
    assert {letter["job_id"] for letter in client.get("/v1/webhooks/dead-letters").json["results"]} == set(seen[:-1])


def test_what_cannot_be_sent_again_says_why(client: FlaskClient, version: ModelVersion, dataset: Any) -> None:
    without, open_job = create(client, version).json["id"], create(client, version, webhook=HOOK).json["id"]
    for job, word in ((without, "no webhook"), (open_job, "nothing to send yet")):
        reply = client.post(f"/v1/jobs/{job}/webhook-deliveries/redeliver")
        assert reply.status_code == 409 and word in reply.json["detail"]
    reply = client.post(f"/v1/jobs/{open_job}/webhook-deliveries/redeliver", json={"event": "start"})
    assert reply.status_code == 409
    assert client.get(f"/v1/trainings/{open_job}/webhook-deliveries").status_code == 404


def test_the_figures_of_webhooks_are_metrics(
    client: FlaskClient, version: ModelVersion, finish: Callable[[str], int], redis: Redis, settings: Settings
) -> None:
    create(client, version, webhook=HOOK)
    finish(version.id)
    text = client.get("/metrics").text
    assert "headrace_outgoing_waiting 1.0" in text and "headrace_webhook_open_circuits 0.0" in text
    outgoing = Outgoing(redis, settings)
    (errand,) = outgoing.lease(1, per_host=1).errands
    outgoing.dead(errand)
    text = client.get("/metrics").text
    assert "headrace_outgoing_waiting 0.0" in text and "headrace_webhook_dead_letters_total 1.0" in text


def test_the_record_of_a_job_stands_as_long_as_its_webhook_may_be_under_way(
    redis: Redis, settings: Settings, client: FlaskClient, version: ModelVersion
) -> None:
    short = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"record_days": 0.001})})
    queue = JobQueue(redis, short)
    facts = {"kind": JobKind.PREDICTION, "account": "ada", "key_id": "k", "queue": queue_of("v", "predict.cpu")}
    hook = {"webhook": HOOK, "webhook_events": ("completed",), "webhook_host": "example.org:443"}
    kept = []
    for more in ({}, hook):
        id_ = new_job_id()
        queue.submit(NewJob(id=id_, pool="predict.cpu", input=b"{}", **facts, **more))
        queue.cancel(id_)
        kept.append(redis.ttl(f"headrace:{{a}}:job:{id_}"))
    assert kept[0] <= 87 and kept[1] >= sum(settings.webhooks.schedule_seconds)
