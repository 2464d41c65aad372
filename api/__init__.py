"""The HTTP service: takes requests, enqueues jobs, answers; it never computes."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

from api.auth import register_auth
from api.base_url import EveryBaseUrl
from api.cors import Cors
from api.errors import register_errors
from api.json_response import BareResponse
from api.pages import register_queries
from api.rate_limits import register_rate_limits
from api.routes import BLUEPRINTS
from api.services import open_services, start_threads
from api.shutdown import call_at_shutdown
from api.slots import register_slots
from api.uploads import UploadRequest, remove_stale
from shared.logs import configure_logs
from shared.rate_limits import RateLimits
from shared.settings import Settings, load_settings

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Service(Flask):
    """The application."""

    def ensure_sync(self, func: _Function) -> _Function:
        """The function itself: none is asynchronous, and to look at each of a request's costs more than to call it."""
        return func


def create_app(settings: Settings | None = None, *, sweeps: bool = True) -> Flask:
    """Makes the WSGI application; ``granian --factory --interface wsgi api:create_app`` serves it.

    Args:
        settings: The process's settings; read from the environment unless given.
        sweeps: Whether this process takes part in the sweeps.
    """
    is_own_process = settings is None
    settings = settings or load_settings()
    app = Service(__name__, static_folder=None)
    app.request_class, app.response_class = UploadRequest, BareResponse
    app.config["MAX_CONTENT_LENGTH"] = settings.http.max_body_bytes
    # Redirects to another spelling of a path would lose the body of a POST.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    services = open_services(settings)
    app.extensions["headrace"] = services
    app.wsgi_app = EveryBaseUrl(app.wsgi_app, settings.http.public_url)  # type: ignore[method-assign]
    if settings.http.cors_origins:
        app.wsgi_app = Cors(app.wsgi_app, settings.http.cors_origins)  # type: ignore[method-assign]
    register_errors(app)
    register_slots(app, services.slots)
    register_auth(app, services.keys, services.browser_tokens)
    register_rate_limits(app, RateLimits(services.redis, settings), settings)
    register_queries(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    remove_stale(settings)
    start_threads(services, sweeps=sweeps)
    if is_own_process:
        configure_logs(settings)
        call_at_shutdown(services.waiting.dismiss)
    return app
