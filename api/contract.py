"""What a route takes and answers, said once beside its view.

The OpenAPI document, the check of the query and the tests are all made from it. The rest of a description is taken
from where it stands already: the summary from the view's docstring, the scope from ``needs``, the group from the
blueprint, path parameters and their form from the rule and ``api/parameters.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Media:
    """A body that is no JSON.

    Args:
        types: Its content type; several are separated by a comma and a space.
        form: The form of a multipart body; a text or bytes where there is none.
    """

    types: str
    form: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What one view takes and answers."""

    replies: Mapping[int, Any]
    """By status: a form of ``api/schemas``, ``list[…]`` of one, ``Media``, or ``None`` for an empty body."""
    body: type[BaseModel] | None = None
    """The form of a JSON body; ``read_as`` checks by the same."""
    media: tuple[Media, ...] = ()
    """Other bodies that are taken."""
    is_body_required: bool = True
    query: tuple[str, ...] = ()
    """Names that the query may have, each described in ``api/parameters.py``."""
    required: tuple[str, ...] = ()
    """Those among them that it must have."""
    headers: tuple[str, ...] = ()
    """Names of request headers that mean something here, described there too."""
    errors: tuple[int, ...] = ()
    """Statuses of errors beside those that follow from scope, path, query and body."""


def describe(
    replies: Mapping[int, Any],
    *,
    body: type[BaseModel] | None = None,
    media: tuple[Media, ...] = (),
    is_body_required: bool = True,
    query: tuple[str, ...] = (),
    required: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    errors: tuple[int, ...] = (),
) -> Callable[[_View], _View]:
    """Says what a view takes and answers; the arguments are those of ``Contract``."""
    contract = Contract(replies, body, media, is_body_required, query, required, headers, errors)

    def mark(view: _View) -> _View:
        view.contract = contract  # type: ignore[attr-defined]
        return view

    return mark


def contract_of(view: Callable[..., Any]) -> Contract | None:
    """What was said of a view."""
    found = getattr(view, "contract", None)
    return found if isinstance(found, Contract) else None
