"""Lets pages of the origins in the settings call the API from a browser; errors carry the headers as well.

A page sends its key or token itself and no cookie is ever read, so that an origin alone gives nobody anything.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, QUERY"
_REQUEST_HEADERS = "Authorization, Cancel-After, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, User-Agent"
_REPLY_HEADERS = "Content-Disposition, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After"
_PREFLIGHT_SECONDS = "600"
_VARY = ("Vary", "Origin")


class Cors:
    """Answers preflights and adds the headers to every reply.

    Args:
        app: The application behind.
        origins: The setting ``http.cors_origins``, not empty.
    """

    def __init__(self, app: "WSGIApplication", origins: Collection[str]) -> None:
        self._app = app
        self._is_any = "*" in origins
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers one request."""
        origin = environ.get("HTTP_ORIGIN", "")
        headers = self._headers(origin)
        if environ["REQUEST_METHOD"] == "OPTIONS" and origin and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            start_response("204 No Content", [*headers, *self._preflight(headers)])
            return []

        def start(status: str, lines: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*lines, *headers], exc_info)

        return self._app(environ, start)

    def _headers(self, origin: str) -> list[tuple[str, str]]:
        exposed = ("Access-Control-Expose-Headers", _REPLY_HEADERS)
        if self._is_any:
            return [("Access-Control-Allow-Origin", "*"), exposed]
        if origin.lower() not in self._origins:
            return [_VARY]
        return [("Access-Control-Allow-Origin", origin), exposed, _VARY]

    def _preflight(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if not any(name == "Access-Control-Allow-Origin" for name, _ in headers):
            return []
        return [
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]
