"""Lets clients spell the base URL as they are used to: with ``/v1``, without it, or with it twice.

/v1/v1/models   client that adds /v1 itself, and was given it     -> /v1/models
/models         client that adds nothing, and was given the host  -> /v1/models
/api/v1/models  behind a proxy that keeps the path of the setting ``http.public_url``  -> /v1/models
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RESOURCES = frozenset(
    {
        "account", "browser-tokens", "collections", "datasets", "deployments", "files", "hardware", "jobs", "models",
        "predictions", "search", "streams", "trainings", "webhooks",
    }
)  # fmt: skip
"""First parts of native paths; no other path is rewritten, such as ``/livez``, ``/docs``, ``/console`` and ``/v2``."""


class EveryBaseUrl:
    """Hands requests on with their path as the routes have it.

    Args:
        app: The application behind.
        public_url: The setting ``http.public_url``, whose path may stand before every path.
    """

    def __init__(self, app: "WSGIApplication", public_url: str = "") -> None:
        self._app = app
        self._prefix = urlsplit(public_url).path.rstrip("/")

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers one request."""
        path = environ["PATH_INFO"]
        if self._prefix and path.startswith(self._prefix + "/"):
            path = environ["PATH_INFO"] = path[len(self._prefix) :]
        if path.startswith("/v1/"):
            if path.startswith("/v1/v1/"):
                environ["PATH_INFO"] = path[3:]
        elif path[1:].partition("/")[0] in RESOURCES:
            environ["PATH_INFO"] = "/v1" + path
        return self._app(environ, start_response)
