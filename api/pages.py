"""What the query says, and pages of listings: cursors that nobody needs to understand, and absolute URLs."""

import base64
import binascii
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Flask, request

from api.auth import scope_of
from api.contract import contract_of
from api.parameters import MAX_LIMIT
from api.services import services
from shared.errors import InvalidInput

_Item = TypeVar("_Item")


def check_query(known: Collection[str] = ()) -> None:
    """Refuses a query that would otherwise be passed over: names that mean nothing here, and those that come twice.

    Raises:
        InvalidInput: Names the first one.
    """
    if not request.environ.get("QUERY_STRING"):
        return
    for name, values in request.args.lists():
        shown = name[:64]
        if name not in known:
            may = (
                f"it may have {', '.join(sorted(known))}" if known else "what a job is told goes into input in the body"
            )
            raise InvalidInput(
                f"{shown} in the query means nothing here; {may}.", shown, "additional_property_not_allowed"
            )
        if len(values) > 1:
            raise InvalidInput(f"{shown} came more than once in the query.", shown, "duplicate")


def register_queries(app: Flask) -> None:
    """Makes the application check the query of every described route before its view."""
    views = app.view_functions

    def check() -> None:
        if not request.environ.get("QUERY_STRING") or request.endpoint is None:
            return
        view = views[request.endpoint]
        contract = contract_of(view)
        # Pages and probes that are open to everybody have nothing to mistake a query for.
        if contract is not None and (contract.query or scope_of(view) is not None):
            check_query(contract.query)

    app.before_request(check)


def limit_query() -> int:
    """``limit`` of the query."""
    text = request.args.get("limit")
    if text is None:
        return MAX_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidInput(f"limit must be a whole number from 1 to {MAX_LIMIT}.", "limit", "range")
    return int(text)


def moment_query(name: str) -> float | None:
    """A time of the query, ISO 8601, in seconds since the epoch; UTC where it has no zone."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        # A plus sign that a client did not escape arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise InvalidInput(f"{name} must be a time like 2026-01-31T12:00:00Z.", name, "format") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def choice_query(name: str, choices: Collection[str]) -> str | None:
    """A word of the query out of a few."""
    text = request.args.get(name)
    if text is not None and text not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}.", name, "enum")
    return text


def page_url(cursor: str | None, **also: str) -> str | None:
    """The URL of this list at another cursor; ``also`` is what else the query has to have."""
    if cursor is None:
        return None
    query = {**request.args, **also, "cursor": cursor}
    return services().urls(f"{request.path}?{urlencode(query)}")


def page_object(
    results: list[Any], next_cursor: str | None = None, previous_cursor: str | None = None, **also: str
) -> dict[str, Any]:
    """One page as the wire has it."""
    return {"previous": page_url(previous_cursor, **also), "next": page_url(next_cursor, **also), "results": results}


def cut(
    items: Sequence[_Item], key: Callable[[_Item], Sequence[str]], *, descending: bool = True
) -> tuple[Sequence[_Item], str | None, str | None]:
    """The page of a short list that the query asks for, with the cursors after and before it.

    A cursor holds the key of the item at its edge, so that what is added or deleted meanwhile shifts nothing.

    Args:
        items: All of them.
        key: Texts that order them and are never alike for two.
        descending: Whether the greatest key comes first.
    """
    limit = limit_query()
    ordered = sorted(items, key=lambda item: tuple(key(item)), reverse=descending)
    backward, mark = _parse(request.args.get("cursor"))

    def follows(item: _Item) -> bool:
        return mark is None or (tuple(key(item)) < mark if descending else tuple(key(item)) > mark)

    if backward and mark is not None:
        before = [item for item in ordered if not follows(item) and tuple(key(item)) != mark]
        page, has_more = before[-limit:], True
        has_less = len(before) > limit
    else:
        after = [item for item in ordered if follows(item)]
        page, has_more, has_less = after[:limit], len(after) > limit, mark is not None
    if not page:
        return page, None, None
    following = _cursor("o", key(page[-1])) if has_more else None
    return page, following, _cursor("n", key(page[0])) if has_less else None


def _cursor(direction: str, key: Sequence[str]) -> str:
    return base64.urlsafe_b64encode("\n".join((direction, *key)).encode()).decode().rstrip("=")


def _parse(cursor: str | None) -> tuple[bool, tuple[str, ...] | None]:
    if not cursor:
        return False, None
    try:
        direction, *key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("\n")
    except (ValueError, binascii.Error):
        direction, key = "", []
    if direction not in ("o", "n") or not key:
        raise InvalidInput("The cursor is not one of this list; start without it.", "cursor", "format")
    return direction == "n", tuple(key)
