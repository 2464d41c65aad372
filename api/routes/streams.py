"""Streams of what happens to a job: every event for who has a key, the output for who has its URL."""

from collections.abc import Callable

from flask import Blueprint, Response, request

from api.auth import authenticate, caller, for_pages, needs, owns, public
from api.contract import Media, describe
from api.dialects import ContractDialect, NativeDialect
from api.services import services
from api.streams import stream_reply
from api.submission import is_job_id
from shared.errors import NotFound, Unauthenticated, Unavailable
from shared.jobs.job import JobKind

routes = Blueprint("streams", __name__)

_STREAM = {200: Media("text/event-stream"), 204: None}


@routes.get("/v1/predictions/<job_id>/events")
@needs("read")
@for_pages
@describe(_STREAM, query=("last_event_id",), headers=("Last-Event-ID",), errors=(503,))
def stream_prediction(job_id: str) -> Response:
    """What happens to a job of any kind, event by event, from its start until its end."""
    return _events(job_id, tuple(JobKind))


@routes.get("/v1/trainings/<job_id>/events")
@needs("read")
@describe(_STREAM, query=("last_event_id",), headers=("Last-Event-ID",), errors=(503,))
def stream_training(job_id: str) -> Response:
    """What happens to a training."""
    return _events(job_id, (JobKind.TRAINING,))


@routes.get("/v1/jobs/<job_id>/events")
@needs("read")
@describe(_STREAM, query=("last_event_id",), headers=("Last-Event-ID",), errors=(503,))
def stream_job(job_id: str) -> Response:
    """What happens to a job of any kind."""
    return _events(job_id, tuple(JobKind))


@routes.get("/v1/streams/<job_id>/<token>")
@public
@describe(_STREAM, query=("last_event_id",), headers=("Last-Event-ID",), errors=(503,))
def stream_output(job_id: str, token: str) -> Response:
    """The output of a prediction, as the stock clients read it from ``urls.stream``; the URL itself is the key."""
    found = services()
    job = found.jobs.peek(job_id) if is_job_id(job_id) else None
    if job is None or job.kind is not JobKind.PREDICTION or not found.streams.opens(job, token):
        raise NotFound("There is no stream here, or its time is over; GET of the prediction has a new URL.")
    return stream_reply(job, ContractDialect(), lambda: found.streams.opens(job, token))


def _events(job_id: str, kinds: tuple[JobKind, ...]) -> Response:
    job = services().submission.peek(job_id, caller().account)
    if job is None or job.kind not in kinds or not owns(job):
        raise NotFound(f"There is no job {job_id[:64]} of this account; it may have been deleted.")
    return stream_reply(job, NativeDialect(), _still_authenticated())


def _still_authenticated() -> Callable[[], bool]:
    found, header = services(), request.environ.get("HTTP_AUTHORIZATION", "")

    def ask() -> bool:
        try:
            authenticate(header, found.keys, found.browser_tokens)
        except Unauthenticated:
            return False
        except Unavailable:
            return True
        return True

    return ask
