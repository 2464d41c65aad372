import datetime
import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from shared.connections import Redis
from shared.jobs.claim import Outcome
from shared.jobs.outgoing import Outgoing
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures
from shared.webhooks.listeners import Listeners
from shared.webhooks.secrets import WebhookSecrets
from shared.webhooks.signing import message_id, signed_headers
from tests.receivers import answer, babble, dribble, drop, endless, hang, in_turn, unfinished

MISBEHAVIOURS = {
    "hang": (hang, "did not answer within"),
    "drop": (drop, "hung up"),
    "babble": (babble, "not HTTP"),
    "slow headers": (dribble, "did not answer within"),
    "500": (answer(500), "answered 500"),
    "endless 503": (endless(503), "answered 503"),
    "301": (answer(301, Location="http://127.0.0.1:1/"), "redirects are not followed"),
    "400": (answer(400), "answered 400"),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_whatever_a_receiver_does_the_end_comes_again_under_the_same_id_until_it_is_taken(
    name: str, receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    eventually: Any,
) -> None:  # fmt: skip
    behaviour, sentence = MISBEHAVIOURS[name]
    receiver = receive(in_turn(behaviour, behaviour, answer(200)))
    job = submit(receiver.url)
    finish()
    start_dispatcher(with_webhooks(timeout_seconds=0.5 if "within" in sentence else 5.0))
    eventually(lambda: len(outgoing.log(job)) == 3, 15)
    first, second, third = outgoing.log(job)
    assert [entry["outcome"] for entry in (first, second, third)] == ["failed", "failed", "delivered"]
    assert sentence in first["error"] and first["next_attempt_at"]
    assert set(receiver.ids()) == {message_id(job, "completed")} and len(receiver.ids()) == 3
    assert outgoing.dead_letters("ada") == []


def test_a_delivery_is_what_get_answers_and_standard_webhooks_verifies_it(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, secrets: WebhookSecrets, eventually: Any
) -> None:
    receiver = receive(answer(204, b""))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job = submit(receiver.url, "start", "completed", traceparent=trace)
    finish()
    start_dispatcher()
    eventually(lambda: len(receiver.requests) == 2)
    begun, ended = receiver.requests
    for request in receiver.requests:
        assert request.path == "/hook?a=1"
        assert request.headers["content-type"] == "application/json" and request.headers["traceparent"] == trace
        Webhook(secrets.get("ada").key).verify(request.body, request.headers)
    assert begun.id == message_id(job, "start") != ended.id
    assert (begun.json()["status"], begun.json()["output"]) == ("processing", None)
    assert ended.json()["id"] == job and ended.json()["output"] == {"label": "one"}
    assert ended.json()["webhook"] == receiver.url
    assert ended.json()["webhook_events_filter"] == ["start", "completed"]
    assert ended.json()["urls"]["get"].endswith(f"/v1/predictions/{job}")


@pytest.mark.parametrize(("details", "scheme"), [({}, "data:"), ({"iterates": True}, "http:")])
def test_a_large_output_is_no_list_in_a_webhook_also_where_get_shows_one(
    details: dict[str, Any], scheme: str, receive: Any, submit: Any, take: Any, queue: JobQueue, redis: Redis,
    settings: Settings, artifacts: Any, start_dispatcher: Any, with_webhooks: Any, eventually: Any,
) -> None:  # fmt: skip
    files = settings.files.model_copy(update={"inline_output_bytes": 4})
    receiver = receive(answer(204, b""))
    submit(receiver.url, details=details)
    claim, (job,) = take()
    outputs = LargeOutputs(redis, settings.model_copy(update={"files": files}), artifacts)
    written = outputs.write(job.id, job.attempt, b"[1,2,3]")
    queue.settle(claim, [Outcome(job.id, job.attempt, written)])
    start_dispatcher()
    eventually(lambda: receiver.requests)
    assert receiver.requests[0].json()["output"].startswith(scheme)


def test_during_a_rotation_the_old_secret_signs_beside_the_new_one(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, secrets: WebhookSecrets, eventually: Any
) -> None:
    before = secrets.get("ada").key
    after = secrets.rotate("ada").key
    assert before != after
    receiver = receive(answer(200))
    submit(receiver.url)
    finish()
    start_dispatcher()
    (request,) = eventually(lambda: receiver.requests)
    assert len(request.headers["webhook-signature"].split()) == 2
    for key in (before, after):
        Webhook(key).verify(request.body, request.headers)


def test_410_stops_at_once_and_leaves_a_dead_letter_that_can_be_sent_again(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, eventually: Any
) -> None:
    receiver = receive(in_turn(answer(410), answer(200)))
    job = submit(receiver.url)
    finish()
    start_dispatcher()
    (letter,) = eventually(lambda: outgoing.dead_letters("ada"))
    assert (letter.job_id, letter.what) == (job, "completed")
    (entry,) = outgoing.log(job)
    assert (entry["outcome"], entry["status"], entry["next_attempt_at"]) == ("gone", 410, None)
    assert outgoing.redeliver(job, "completed")
    eventually(lambda: len(receiver.requests) == 2)
    assert receiver.ids() == [message_id(job, "completed")] * 2
    assert outgoing.dead_letters("ada") == []


def test_after_the_last_attempt_there_is_a_dead_letter(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, with_webhooks: Any,
    eventually: Any, redis: Redis, settings: Settings,
) -> None:  # fmt: skip
    receiver = receive(answer(500))
    job = submit(receiver.url)
    finish()
    start_dispatcher(with_webhooks(schedule_seconds=(0.0, 0.02, 0.02)))
    eventually(lambda: outgoing.dead_letters("ada"))
    assert [entry["attempt"] for entry in outgoing.log(job)] == [1, 2, 3]
    assert len(receiver.requests) == 3
    eventually(lambda: sum(WebhookFigures(redis, settings).read().attempts.values()) == 3)
    figures = WebhookFigures(redis, settings).read()
    assert figures.attempts == {("completed", "failed"): 3} and figures.given_up == 1 and figures.waiting == 0


@pytest.mark.parametrize(
    ("said", "seconds"), [("7200", 7200), ("99999999", 86_400), ("nonsense", 0.05), ("-5", 0.05), ("date", 7200)]
)
def test_retry_after_is_honoured_up_to_a_day(
    said: str, seconds: float, receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing,
    eventually: Any,
) -> None:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    if said == "date":
        said = (now + datetime.timedelta(hours=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    receiver = receive(answer(429, Retry_After=said))
    job = submit(receiver.url)
    finish()
    start_dispatcher()
    eventually(lambda: outgoing.log(job))
    entry = outgoing.log(job)[0]
    pause = (datetime.datetime.fromisoformat(entry["next_attempt_at"]) - now).total_seconds()
    assert seconds * 0.9 - 3 <= pause <= seconds * 1.1 + 10


def test_what_tells_of_the_way_is_tried_once_and_has_ids_of_its_own(
    receive: Any, submit: Any, take: Any, start_dispatcher: Any, queue: JobQueue, outgoing: Outgoing, eventually: Any
) -> None:
    receiver = receive(answer(500))
    job = submit(receiver.url, "start", "logs")
    claim, (taken,) = take()
    start_dispatcher()
    eventually(lambda: len(outgoing.log(job)) == 1)
    for count in (2, 3):
        assert queue.progress(claim, job, taken.attempt, facts="", log="line\n", checkpoint=False)
        eventually(lambda count=count: len(outgoing.log(job)) == count)
    assert [entry["event"] for entry in outgoing.log(job)] == ["start", "progress", "progress"]
    assert all(entry["next_attempt_at"] is None for entry in outgoing.log(job))
    assert len(set(receiver.ids())) == 3
    assert receiver.requests[2].at - receiver.requests[1].at >= 0.4
    assert outgoing.dead_letters("ada") == []


def test_what_was_to_tell_of_the_way_does_not_tell_of_an_end_that_came_first(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, redis: Redis, eventually: Any
) -> None:
    receiver = receive(answer(200))
    job_id = submit(receiver.url, "output", "logs", "completed")
    finish()
    start_dispatcher()
    eventually(lambda: receiver.ids() == [message_id(job_id, "completed")])
    # As where it was leased before the end, which takes it back otherwise.
    outgoing.send(receiver.address, job_id, "progress")
    eventually(lambda: redis.hget("headrace:{a}:totals", "outgoing:progress:done") == b"1")
    assert receiver.ids() == [message_id(job_id, "completed")]


def test_the_output_of_a_model_is_told_although_nobody_asked_for_the_end(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, eventually: Any
) -> None:
    receiver = receive(answer(200))
    submit(receiver.url, "output")
    finish()
    start_dispatcher()
    eventually(lambda: receiver.requests)
    assert receiver.requests[0].json()["output"] == {"label": "one"}


def test_a_deleted_job_is_told_of_no_more(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, queue: JobQueue, eventually: Any
) -> None:
    receiver = receive(answer(200))
    gone, kept = submit(receiver.url), submit(receiver.url)
    finish()
    assert queue.delete(gone)
    start_dispatcher()
    eventually(lambda: receiver.requests)
    assert receiver.ids() == [message_id(kept, "completed")]


def test_an_endless_body_after_200_is_a_delivery_and_no_more_of_it_is_read_than_may_be(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, eventually: Any
) -> None:
    receiver = receive(endless(200))
    job = submit(receiver.url)
    finish()
    start_dispatcher()
    eventually(lambda: outgoing.log(job))
    (entry,) = outgoing.log(job)
    assert entry["outcome"] == "delivered" and len(entry["reply"]) == 500


def test_an_answer_of_200_counts_although_its_body_never_ends(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    eventually: Any,
) -> None:  # fmt: skip
    job = submit(receive(unfinished).url)
    finish()
    start_dispatcher(with_webhooks(timeout_seconds=0.5))
    eventually(lambda: outgoing.log(job))
    assert [(entry["outcome"], entry["status"]) for entry in outgoing.log(job)] == [("delivered", 200)]


def test_an_error_of_ours_is_an_attempt_that_failed_and_comes_again(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = iter([True, False, False])

    def sign(*arguments: Any) -> dict[str, str]:
        if next(broken):
            raise ValueError("planted")
        return signed_headers(*arguments)

    monkeypatch.setattr("workers.outgoing.deliveries.signed_headers", sign)
    job = submit(receive(answer(200)).url)
    finish()
    start_dispatcher()
    eventually(lambda: len(outgoing.log(job)) == 2)
    assert [entry["outcome"] for entry in outgoing.log(job)] == ["failed", "delivered"]


def test_a_loopback_address_is_called_only_while_it_is_registered(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    redis: Redis, settings: Settings, eventually: Any,
) -> None:  # fmt: skip
    receiver, other = receive(answer(200)), receive(answer(200))
    listeners = Listeners(redis, settings)
    listeners.add(receiver.address)
    known, unknown = submit(receiver.url), submit(other.url)
    finish()
    start_dispatcher(with_webhooks(networks=()))
    eventually(lambda: outgoing.log(known) and outgoing.log(unknown))
    assert outgoing.log(known)[0]["outcome"] == "delivered"
    assert outgoing.log(unknown)[0]["outcome"] == "refused" and other.requests == []
    assert [letter.job_id for letter in outgoing.dead_letters("ada")] == [unknown]
    listeners.remove(receiver.address)
    assert outgoing.redeliver(known, "completed")
    eventually(lambda: len(outgoing.log(known)) == 2)
    assert outgoing.log(known)[1]["outcome"] == "refused" and len(receiver.requests) == 1


def test_tls_that_is_wrong_is_a_failure_that_says_so(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, tmp_path: Path,
    needs: Callable[[str], str], with_webhooks: Any, eventually: Any,
) -> None:  # fmt: skip
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-subj", "/CN=nobody", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    unknown, plain = receive(answer(200), tls=tls), receive(answer(200))
    jobs = {submit(unknown.url): "certificate", submit(plain.url.replace("http:", "https:")): "did not answer"}
    finish()
    start_dispatcher(with_webhooks(timeout_seconds=0.5))
    for job, word in jobs.items():
        eventually(lambda job=job: outgoing.log(job))
        assert outgoing.log(job)[0]["outcome"] == "failed" and word in outgoing.log(job)[0]["error"]
    assert unknown.requests == plain.requests == []


def test_the_delivery_log_is_json_and_says_when_and_how_long(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, outgoing: Outgoing, eventually: Any
) -> None:
    receiver = receive(answer(200, "größer".encode()))
    job = submit(receiver.url)
    finish()
    start_dispatcher()
    eventually(lambda: outgoing.log(job))
    (entry,) = json.loads(json.dumps(outgoing.log(job)))
    assert entry["reply"] == "größer" and entry["at"].endswith("Z") and 0 < entry["seconds"] < 5
    assert set(entry) == {
        "event", "webhook_id", "attempt", "at", "outcome", "status", "error", "seconds", "reply", "next_attempt_at",
    }  # fmt: skip
