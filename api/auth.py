"""Lets a request in: who sends it, by which key, and whether the key has the scope that the route needs.

Deny by default: a route without ``needs`` or ``public`` is never run.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, g, request

from shared.api_keys import ApiKey, ApiKeys
from shared.browser_tokens import PREFIX, BrowserTokens
from shared.errors import Forbidden, Unauthenticated
from shared.jobs.job import Job, JobKind

_View = TypeVar("_View", bound=Callable[..., Any])

ANY_SCOPE = ""
"""For routes that look at the scope themselves, since it depends on the kind of the job."""

_PUBLIC = "public"
_SCHEMES = ("bearer", "token")

WRITE_SCOPES = {
    JobKind.PREDICTION: "predictions:write",
    JobKind.TRAINING: "trainings:write",
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


def for_pages(view: _View) -> _View:
    """Marks a view as answered to the tokens of pages too, which have no scope; it looks whose the job is."""
    view.is_for_pages = True  # type: ignore[attr-defined]
    return view


def scope_of(view: Callable[..., Any]) -> str | None:
    """What a view needs, ``ANY_SCOPE`` where it looks itself, ``None`` where it answers everybody."""
    scope: str | None = getattr(view, "scope", None)
    return None if scope == _PUBLIC else scope


def register_auth(app: Flask, keys: ApiKeys, tokens: BrowserTokens) -> None:
    """Makes the application look at the key before every view.

    Args:
        app: The application.
        keys: Where keys are found.
        tokens: Where the tokens of pages are found.
    """
    views = app.view_functions

    def let_in() -> None:
        endpoint = request.endpoint
        if endpoint is None:  # answered with 404 or 405, which tell nobody anything
            return
        environ = request.environ
        scope = getattr(views[endpoint], "scope", None)
        if scope == _PUBLIC or environ["REQUEST_METHOD"] == "OPTIONS":
            return
        key = g.key = authenticate(environ.get("HTTP_AUTHORIZATION", ""), keys, tokens)
        if scope is None:
            raise Forbidden("Nobody may use this route yet.")
        if key.only_model:
            if not getattr(views[endpoint], "is_for_pages", False):
                raise Forbidden(
                    f"A browser token makes, reads, streams and cancels predictions of {key.only_model} only."
                )
        elif scope and not key.allows(scope):
            raise _lacks(scope)

    app.before_request(let_in)


def caller() -> ApiKey:
    """The key of the request under way."""
    return cast(ApiKey, g.key)


def owns(job: Job) -> bool:
    """Whether the job is the caller's: of the key's account, and for a token of a page one that it made itself."""
    key = caller()
    return job.account == key.account and (not key.only_model or job.key_id == key.id)


def require(scope: str) -> None:
    """Refuses the request unless its key has a scope; a token of a page has been let in by the route.

    Raises:
        Forbidden: It has not.
    """
    if not caller().only_model and not caller().allows(scope):
        raise _lacks(scope)


def _lacks(scope: str) -> Forbidden:
    return Forbidden(f"The key lacks the scope {scope}; headrace keys create makes one that has it.", scope=scope)


def authenticate(header: str, keys: ApiKeys, tokens: BrowserTokens) -> ApiKey:
    """The key that a header ``Authorization`` has.

    Raises:
        Unauthenticated: It has none, or one that has ended.
        Unavailable: Redis does not answer.
    """
    scheme, _, text = header.partition(" ")
    if scheme.lower() not in _SCHEMES or not text:
        raise Unauthenticated("Send an API key as Authorization: Bearer hr_…; headrace keys create makes one.")
    text = text.strip()
    key = tokens.find(text) if text.startswith(PREFIX) else keys.find(text)
    if key is None:
        raise Unauthenticated("The API key is unknown, expired or revoked; headrace keys create makes a new one.")
    return key
