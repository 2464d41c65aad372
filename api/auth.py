"""Lets a request in: who sends it, by which key, and whether the key has the scope that the route needs.

Deny by default: a route without ``needs`` or ``public`` is never run.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app, g, request

from api.services import services
from shared.api_keys import ApiKey
from shared.errors import Forbidden, Unauthenticated
from shared.jobs.job import JobKind

_View = TypeVar("_View", bound=Callable[..., Any])

ANY_SCOPE = ""
"""For routes that look at the scope themselves, since it depends on the kind of the job."""

_PUBLIC = "public"
_SCHEMES = ("bearer", "token")

WRITE_SCOPES = {
    JobKind.PREDICTION: "predictions:write",
    JobKind.EXPLANATION: "predictions:write",
    JobKind.TRAINING: "trainings:write",
    JobKind.STUDY: "trainings:write",
    JobKind.EVALUATION: "trainings:write",
    JobKind.IMPORT: "models:write",
    JobKind.DATASET: "datasets:write",
}
"""What a key needs to make, cancel or delete jobs of a kind."""


def needs(scope: str) -> Callable[[_View], _View]:
    """Marks a view as answered only to keys with a scope."""

    def mark(view: _View) -> _View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark


def public(view: _View) -> _View:
    """Marks a view as answered to everybody."""
    return needs(_PUBLIC)(view)


def register_auth(app: Flask) -> None:
    """Makes the application look at the key before every view."""
    app.before_request(_let_in)


def caller() -> ApiKey:
    """The key of the request under way."""
    return cast(ApiKey, g.key)


def require(scope: str) -> None:
    """Refuses the request unless its key has a scope.

    Raises:
        Forbidden: It has not.
    """
    if not caller().allows(scope):
        raise Forbidden(f"The key lacks the scope {scope}; headrace keys create makes one that has it.", scope=scope)


def _let_in() -> None:
    if request.endpoint is None or request.method == "OPTIONS":
        return
    scope = getattr(current_app.view_functions[request.endpoint], "scope", None)
    if scope == _PUBLIC:
        return
    g.key = _authenticate(request.environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        raise Forbidden("Nobody may use this route yet.")
    if scope:
        require(scope)


def _authenticate(header: str) -> ApiKey:
    scheme, _, text = header.partition(" ")
    if scheme.lower() not in _SCHEMES or not text:
        raise Unauthenticated("Send an API key as Authorization: Bearer hr_…; headrace keys create makes one.")
    key = services().keys.find(text.strip())
    if key is None:
        raise Unauthenticated("The API key is unknown, expired or revoked; headrace keys create makes a new one.")
    return key
