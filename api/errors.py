"""Turns every error into one problem document (RFC 9457); no client ever gets a page of HTML or a traceback."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from shared.errors import ServiceError, TooManyRequests, Unauthenticated, Unavailable

log = structlog.get_logger(__name__)

_UNAVAILABLE_RETRY_SECONDS = 1
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
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(_UNAVAILABLE_RETRY_SECONDS)
        log.warning("unavailable", path=request.path, error=error.detail)
    elif isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.title, error.detail, error.code, headers, **error.facts)


_LATER = {
    "files": "File uploads are not supported yet: send files as data URLs (in the Python client: "
    'file_encoding_strategy="base64"), as multipart or as raw body.',
    "deployments": "Deployments are not supported yet: use owner/name, which means the version in production.",
    "hardware": "Lists of hardware are not supported yet: any text will do where hardware is asked for, since pools of "
    "workers are set by whoever runs them.",
    "collections": "Collections are not supported yet: GET /v1/models lists the models.",
    "search": "Search is not supported yet: GET /v1/models lists the models.",
    "webhooks": "Webhooks are not supported yet: wait with Prefer: wait, or read the job.",
    "QUERY": "Search is not supported yet: GET /v1/models lists the models.",
}
"""What the contract has and is not there yet, by what follows ``/v1/`` or by method, with what to do instead."""


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    title = error.name
    kept = ("allow", "location", "retry-after", "www-authenticate")
    headers = {name: value for name, value in error.get_headers() if name.lower() in kept}
    detail = _nothing_there(status) or _DETAILS.get(status) or error.description or title
    return problem(status, title, detail, title.lower().replace(" ", "-"), headers)


def _nothing_there(status: int) -> str | None:
    """What to say of a path or a method that does not exist."""
    if status == 405:
        return _LATER.get(request.method)
    if status != 404:
        return None
    root, _, rest = request.path.partition("/v1/")
    later = None if root else _LATER.get(rest.partition("/")[0])
    return later or (
        f"There is nothing at {request.path[:100]}; paths begin with /v1, for example /v1/predictions, and "
        "docs/http.md lists them."
    )


def _unexpected(error: Exception) -> Response:
    instance = uuid.uuid4().urn
    log.error("a request failed", path=request.path, method=request.method, instance=instance, exc_info=error)
    detail = f"The server failed at this request; its log has the reason under {instance}."
    return problem(500, ServiceError.title, detail, ServiceError.code, instance=instance)
