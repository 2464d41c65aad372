"""What every form has in common: requests refuse what they do not know, replies promise only what they name."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

_Item = TypeVar("_Item")


class RequestForm(BaseModel):
    """A JSON body that is taken; its values are of exactly these types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ReplyForm(BaseModel):
    """A JSON body that is answered; never built, since views answer plain dicts, but documented and held by tests."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    path_names: ClassVar[Mapping[str, str]] = {}
    """Names in paths that its keys stand for, so that what was made is followed by links: ``{"job_id": "id"}``."""


class Page(ReplyForm, Generic[_Item]):
    """One page of a list."""

    previous: Annotated[str | None, Field(json_schema_extra={"format": "uri"})]
    """URL of the page before; null on the first."""
    next: Annotated[str | None, Field(json_schema_extra={"format": "uri"})]
    """URL of the page after; null on the last."""
    results: list[_Item]


class InvalidField(ReplyForm):
    """One field that does not fit."""

    type: str
    """``required``, ``type``, ``enum``, ``additional_property_not_allowed``, …"""
    field: str
    """Dotted from the top of the body."""
    description: str


class Problem(ReplyForm):
    """What every error answers (RFC 9457)."""

    title: str
    status: int
    detail: str
    """One sentence: what is wrong, and what to do."""
    code: str
    """A word for programs; docs/errors.md lists them."""
    invalid_fields: list[InvalidField] = []
    """Left out where no field is to blame."""


def refuse(kind: str, sentence: str) -> PydanticCustomError:
    """What a validator raises: the kind of ``invalid_fields``, and a sentence in which ``{field}`` is the field."""
    return PydanticCustomError(kind, "{sentence}", {"sentence": sentence})


def checked_by(check: Callable[[Any], None]) -> AfterValidator:
    """An annotation for fields that a function looks at; it raises what ``refuse`` makes."""

    def look(value: Any) -> Any:
        check(value)
        return value

    return AfterValidator(look)
