"""Reads a JSON body as its form has it."""

from typing import TypeVar

from pydantic import BaseModel

from api.bodies import parsed, read_json, read_raw
from api.validation import check_form

_Form = TypeVar("_Form", bound=BaseModel)


def read_as(form: type[_Form]) -> tuple[_Form, bytes]:
    """The body of the request under way, checked, and as it came.

    Args:
        form: The form that the view's ``describe`` names as ``body``.

    Raises:
        InvalidInput: The body is no JSON object, or does not fit.
    """
    keys, raw = read_json()
    return check_form(form, keys), raw


def read_as_if_any(form: type[_Form]) -> _Form:
    """The body of the request under way, checked; as if it were ``{}`` where there is none.

    Args:
        form: The form that the view's ``describe`` names as ``body``; all its keys may be left out.

    Raises:
        InvalidInput: The body is no JSON object, or does not fit.
    """
    raw = read_raw()
    return check_form(form, parsed(raw) if raw else {})
