"""Webhooks of the account: its secret, test messages, what was given up, and receivers on this machine."""

import time
from typing import Any

from flask import Blueprint, Response

from api.auth import caller, needs
from api.contract import describe
from api.json_body import read_as, read_as_if_any
from api.json_response import json_response, no_content
from api.pages import cut, page_object
from api.parameters import PAGED
from api.schemas.form import Page
from api.schemas.webhooks import (
    DeadLetterObject,
    ListenerObject,
    NewListener,
    NewTest,
    Replay,
    ReplayObject,
    Rotation,
    SecretObject,
    TestResult,
)
from api.services import services
from shared.errors import Unavailable
from shared.http_client import lane_of
from shared.jobs.job import Job, new_job_id
from shared.jobs.outgoing import DeadLetter
from shared.jobs.view import job_path, moment
from shared.webhooks.listeners import LIFE_SECONDS
from shared.webhooks.secrets import Secrets
from shared.webhooks.signing import message_id
from shared.webhooks.trials import Trial

routes = Blueprint("webhooks", __name__)

_SPARE_SECONDS = 5.0  # beside the attempt's own time, for its way to a worker
_LOOK_SECONDS = 2.0
_TEST = "test"
_MOST_LETTERS = 10_000


@routes.get("/v1/webhooks/default/secret")
@needs("webhooks:read")
@describe({200: SecretObject})
def get_secret() -> Response:
    """The secret that signs the account's webhooks; made at the first call."""
    return json_response(_secret_object(services().webhook_secrets.get(caller().account)))


@routes.post("/v1/webhooks/default/secret/rotate")
@needs("webhooks:write")
@describe({200: SecretObject}, body=Rotation, is_body_required=False)
def rotate_secret() -> Response:
    """Makes a new secret; the one so far signs beside it for a while."""
    told = read_as_if_any(Rotation)
    return json_response(_secret_object(services().webhook_secrets.rotate(caller().account, told.overlap_seconds)))


@routes.post("/v1/webhooks/default/test")
@needs("webhooks:write")
@describe({200: TestResult}, body=NewTest, errors=(503,))
def send_test() -> Response:
    """Sends a signed test message to a URL, by an io worker as every webhook, and answers what happened."""
    found = services()
    told, _ = read_as(NewTest)
    host = lane_of(told.url, found.guard, "url")
    id_ = new_job_id()
    seconds = found.settings.webhooks.timeout_seconds + _SPARE_SECONDS
    with found.waiting.seat(id_) as seat:
        if seat is None:
            raise Unavailable("Every place to wait is taken; try again in a moment.")
        found.webhook_trials.begin(id_, Trial(caller().account, told.url, seat.channel))
        found.outgoing.send(host, id_, _TEST)
        until = time.monotonic() + seconds
        while not (attempts := found.outgoing.log(id_)):
            left = until - time.monotonic()
            if left <= 0 or seat.is_over:
                raise Unavailable(
                    f"Nobody has sent the test message within {seconds:.0f} s: no io worker runs (headrace doctor "
                    "looks), or the receiver has failed so often that nothing goes to it for a few minutes."
                )
            seat.event.wait(min(left, _LOOK_SECONDS))
            seat.event.clear()
    attempt = attempts[-1]
    delivered = attempt["outcome"] == "delivered"
    return json_response({"id": id_, "url": told.url, "delivered": delivered, "attempt": attempt})


@routes.get("/v1/webhooks/dead-letters")
@needs("read")
@describe({200: Page[DeadLetterObject]}, query=PAGED)
def list_dead_letters() -> Response:
    """The account's webhooks that were given up, newest first."""
    found = services()
    letters, following, previous = cut(found.outgoing.dead_letters(caller().account, _MOST_LETTERS), _place)
    jobs = [found.jobs.peek(letter.job_id) for letter in letters]
    results = [_letter_object(letter, job) for letter, job in zip(letters, jobs, strict=True) if job is not None]
    return json_response(page_object(results, following, previous))


@routes.post("/v1/webhooks/dead-letters/replay")
@needs("webhooks:write")
@describe({200: ReplayObject}, body=Replay, is_body_required=False)
def replay_dead_letters() -> Response:
    """Sends webhooks again that were given up, under the ids that they had; at most 10,000 in one call."""
    outgoing = services().outgoing
    told = read_as_if_any(Replay)
    letters = outgoing.dead_letters(caller().account, _MOST_LETTERS)
    wanted = [letter for letter in letters if told.jobs is None or letter.job_id in told.jobs]
    return json_response({"replayed": sum(outgoing.redeliver(letter.job_id, letter.what) for letter in wanted)})


@routes.post("/v1/webhooks/listeners")
@needs("admin")
@describe({201: ListenerObject}, body=NewListener)
def add_listener() -> Response:
    """Lets a loopback address of the io worker's machine be called for a minute; a developer's receiver renews it."""
    told, _ = read_as(NewListener)
    address = services().listeners.add(told.address)
    return json_response({"address": address, "expires_at": moment(time.time() + LIFE_SECONDS)}, 201)


@routes.delete("/v1/webhooks/listeners/<address>")
@needs("admin")
@describe({204: None})
def remove_listener(address: str) -> Response:
    """Ends that."""
    services().listeners.remove(address)
    return no_content()


def _place(letter: DeadLetter) -> tuple[str, str]:
    """What orders dead letters, as texts."""
    return f"{letter.at:017.3f}", f"{letter.job_id}|{letter.what}"


def _secret_object(secrets: Secrets) -> dict[str, Any]:
    old = [{"key": one.key, "expires_at": moment(one.expires_at)} for one in secrets.old]
    return {"key": secrets.key, "old": old}


def _letter_object(letter: DeadLetter, job: Job) -> dict[str, Any]:
    found = services()
    attempts = [entry for entry in found.outgoing.log(job.id) if entry["event"] == letter.what]
    url = found.urls(job_path(job))
    return {
        "job_id": job.id,
        "event": letter.what,
        "webhook_id": message_id(job.id, letter.what),
        "webhook": job.webhook,
        "given_up_at": moment(letter.at),
        "last_attempt": attempts[-1] if attempts else None,
        "urls": {"job": url, "deliveries": url + "/webhook-deliveries"},
    }
