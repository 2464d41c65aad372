"""Checks the keys of a JSON body by its form, and says in our own sentences what does not fit."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.errors import InvalidInput

_Form = TypeVar("_Form", bound=BaseModel)

_MOST_PROBLEMS = 10
_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_OTHERS = {"string_pattern_mismatch": "pattern", "string_too_long": "length", "string_too_short": "length"}
_RANGES = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "too_long")


def check_form(form: type[_Form], keys: Mapping[str, Any]) -> _Form:
    """The body as its form has it.

    Raises:
        InvalidInput: Has all that does not fit in ``invalid_fields``, and one sentence for each.
    """
    try:
        return form.model_validate(keys)
    except ValidationError as error:
        problems = [_problem(form, item) for item in error.errors(include_url=False)[:_MOST_PROBLEMS]]
        sentence = " ".join(dict.fromkeys(item["description"] for item in problems))
        raise InvalidInput(sentence, invalid_fields=problems) from None


def _problem(form: type[BaseModel], item: ErrorDetails) -> dict[str, str]:
    field = _path(item["loc"])
    kind, sentence = _said(form, item, field)
    return {"type": kind, "field": field, "description": sentence}


def _said(form: type[BaseModel], item: ErrorDetails, field: str) -> tuple[str, str]:
    kind, context = item["type"], item.get("ctx", {})
    if "sentence" in context:  # by a check of our own, see ``refuse``
        return kind, context["sentence"].replace("{field}", field)
    if kind == "missing":
        return "required", f"{field} is required."
    if kind == "extra_forbidden":
        return (
            "additional_property_not_allowed",
            f"{field} is not a key of this request; it may have {', '.join(form.model_fields)}.",
        )
    if kind in ("literal_error", "enum"):
        return "enum", f"{field} must be one of {context['expected'].replace(' or ', ', ')}.".replace("'", "")
    if kind in _TYPES:
        return "type", f"{field} must be {_TYPES[kind]}."
    if kind == "string_too_long":
        return "length", f"{field} has {len(item['input'])} characters and may have {context['max_length']}."
    known = _OTHERS.get(kind, "range" if kind in _RANGES else "type")
    return known, f"{field}: {item['msg'][:1].lower()}{item['msg'][1:]}."


def _path(parts: Sequence[int | str]) -> str:
    return ".".join(str(part)[:64] for part in parts)
