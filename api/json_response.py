"""Makes the replies that carry JSON, with as little work for each as the framework allows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class BareResponse(Response):
    """A reply without a content type unless it is given one."""

    default_mimetype = None


class JsonResponse(BareResponse):
    """A reply whose headers are complete from the start; its URLs are absolute and need no correction."""

    autocorrect_location_header = False

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """The headers as they are."""
        return self.headers


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON reply."""
    body = orjson.dumps(value)
    lines = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if headers:
        lines.extend(headers.items())
    return JsonResponse(body, status, Headers(lines))


def no_content() -> Response:
    """The reply to a deletion."""
    return BareResponse(status=204)
