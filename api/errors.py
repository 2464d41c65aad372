"""Turns every error into one problem document (RFC 9457); no client ever gets a page of HTML or a traceback."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from shared.errors import Conflict, InvalidInput, ServiceError, TooManyRequests, Unauthenticated, Unavailable

log = structlog.get_logger(__name__)

_UNAVAILABLE_RETRY_SECONDS = 1
_MOST_RETRY_SECONDS = 60  # replicate 2 for Python passes over more than that, and comes back at once
# replicate 2 for Python repeats every 409 and 5xx unless told that it is of no use.
_NO_RETRY = {"x-should-retry": "false"}
_DETAILS = {
    400: "The request cannot be read; check its headers and its body.",
    405: "This path does not take that method.",
    413: "The request is larger than the server takes; send less, or raise the server's limit for bodies.",
    415: "The server does not take this content type here.",
}


def problem(
    status: int, title: str, detail: str, code: str, headers: Mapping[str, str] | None = None, **facts: Any
) -> Response:
    """A problem document as a response."""
    document = {"title": title, "status": status, "detail": detail, "code": code, **facts}
    response = Response(orjson.dumps(document, default=str), status, content_type="application/problem+json")
    if headers:
        response.headers.update(headers)
    return response


def register_errors(app: Flask) -> None:
    """Makes the application render its errors here."""
    app.register_error_handler(ServiceError, _service_error)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _unexpected)


def _service_error(error: ServiceError) -> Response:
    headers: dict[str, str] = {}
    detail = error.detail
    if isinstance(error, InvalidInput) and "invalid_fields" in error.facts:
        detail = _lines(error.facts["invalid_fields"])
    elif isinstance(error, Conflict):
        headers |= _NO_RETRY
    elif isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(min(_MOST_RETRY_SECONDS, error.retry_after_seconds))
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(_UNAVAILABLE_RETRY_SECONDS)
        log.warning("unavailable", path=_shown_path(), error=error.detail)
    elif isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.title, detail, error.code, headers, **error.facts)


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    title = error.name
    kept = ("allow", "location", "retry-after", "www-authenticate")
    headers = {name: value for name, value in error.get_headers() if name.lower() in kept}
    detail = _nothing_there() if status == 404 else _DETAILS.get(status) or error.description or title
    return problem(status, title, detail, title.lower().replace(" ", "-"), headers)


def _nothing_there() -> str:
    """What to say of a path that does not exist."""
    return (
        f"There is nothing at {request.path[:100]}; paths begin with /v1, for example /v1/predictions, and "
        "docs/http.md lists them."
    )


def _lines(fields: Sequence[Mapping[str, str]]) -> str:
    """One line for each field that does not fit, in the form that users of the contract know and programs read."""
    return "".join(f"- {field['field']}: {field['description']}\n" for field in fields)


def _shown_path() -> str:
    """The path for the log: the end of one that is a key itself is no log's business."""
    head, _, _ = request.path.rpartition("/")
    return f"{head}/…" if request.path.startswith("/v1/streams/") else request.path


def _unexpected(error: Exception) -> Response:
    instance = uuid.uuid4().urn
    log.error("a request failed", path=_shown_path(), method=request.method, instance=instance, exc_info=error)
    detail = f"The server failed at this request; its log has the reason under {instance}."
    return problem(500, ServiceError.title, detail, ServiceError.code, _NO_RETRY, instance=instance)
