"""Lets clients put ``/v1`` into their base URL or leave it out: ``/v1/v1/…`` means ``/v1/…``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class OneVersionPrefix:
    """Hands requests on with a doubled prefix made single.

    Args:
        app: The application behind.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers one request."""
        if environ["PATH_INFO"].startswith("/v1/v1/"):
            environ["PATH_INFO"] = environ["PATH_INFO"][3:]
        return self._app(environ, start_response)
