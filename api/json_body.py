"""Reads a JSON body as its form has it."""

from typing import TypeVar

from pydantic import BaseModel

from api.bodies import read_json
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
