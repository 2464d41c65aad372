"""Answers with a job: in one piece where it is known, else in a reply that begins now and ends with the job.

Such a reply is white space, which JSON may begin with, until the job is known. Every piece of it restarts the read
timeout of the client, so that one that is patient for a minute can wait for an hour.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import structlog
from flask import Response
from werkzeug.datastructures import Headers

from api.json_response import JsonResponse, json_response
from api.submission import Answer, as_created
from shared.jobs.job import Job

log = structlog.get_logger(__name__)

_SIGN_OF_LIFE = b" "


def job_reply(
    answer: Answer,
    shown: Callable[[Job], dict[str, Any]],
    beat_seconds: float,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The reply to a request that asked for a job.

    Args:
        answer: The job, or where the request waits for it.
        shown: Makes the object of the wire; needs nothing of the request, which may be over by then.
        beat_seconds: How often a reply that is held says that it is coming.
        status: The status; what a held reply ends with cannot change it any more.
        headers: Further headers.
    """
    if answer.hold is None:
        return json_response(shown(answer.job), status, headers)
    # A proxy would hold the white space back until its buffer is full.
    lines = [("Content-Type", "application/json"), ("X-Accel-Buffering", "no"), *(headers or {}).items()]
    held = JsonResponse(_pieces(answer, shown, beat_seconds), status, Headers(lines))
    held.call_on_close(answer.hold.close)
    return held


def _pieces(answer: Answer, shown: Callable[[Job], dict[str, Any]], beat_seconds: float) -> Iterator[bytes]:
    hold = answer.hold
    assert hold is not None
    yield _SIGN_OF_LIFE
    while not hold.wait(beat_seconds):
        yield _SIGN_OF_LIFE
    yield _last(answer, hold.answer, shown)


def _last(answer: Answer, ended: Callable[[], Job | None], shown: Callable[[Job], dict[str, Any]]) -> bytes:
    """The object; where it cannot be had now, the job as unfinished, so that the client asks again and hears why."""
    try:
        return orjson.dumps(shown(ended() or answer.job))
    except Exception:
        log.exception("a held reply could not show its job", job=answer.job.id)
        return orjson.dumps(shown(as_created(answer.job)))
