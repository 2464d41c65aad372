"""The forms of models and versions."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from api.schemas.form import ReplyForm, RequestForm, checked_by, refuse
from shared.models.version import NAME_PATTERN, VERSION_ID_PATTERN, is_name

_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_MOST_CHARACTERS = 10_000

Text = Annotated[str, Field(max_length=_MOST_CHARACTERS)]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


_MODEL = f"{NAME_PATTERN}/{NAME_PATTERN}"

VersionReference = Annotated[
    str, Field(json_schema_extra={"pattern": f"^({VERSION_ID_PATTERN}|{_MODEL}(:{VERSION_ID_PATTERN})?)$"})
]
"""What ``api.versions.named_version`` reads, which says what to do where it cannot."""

ModelReference = Annotated[str, Field(json_schema_extra={"pattern": f"^{_MODEL}$"})]
"""``owner/name``."""


def _check_name(value: str) -> None:
    if not is_name(value):
        raise refuse(
            "pattern" if value else "required",
            "{field} must be up to 63 lower-case letters, digits, dots, dashes and underscores, and begin with a "
            "letter or digit.",
        )


def _check_address(value: str | None) -> None:
    if value and not _ADDRESS.fullmatch(value):
        raise refuse("format", "{field} must be an address that begins with https:// or http://.")


Name = Annotated[str, Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"}), checked_by(_check_name)]
Link = Annotated[
    str | None,
    Field(max_length=_MOST_CHARACTERS, json_schema_extra={"pattern": r"^([hH][tT][tT][pP][sS]?://[^\s/?#]+\S*)?$"}),
    checked_by(_check_address),
]


class NewModel(RequestForm):
    """A model without versions."""

    owner: Name
    name: Name
    visibility: Literal["private", "public", "", None] = None
    """Kept and shown; every account sees every model."""
    hardware: Text | None = None
    """Taken for the sake of stock clients: pools are the machines' own."""
    description: Text | None = None
    github_url: Link = None
    paper_url: Link = None
    license_url: Link = None
    cover_image_url: Link = None


class SchemaComponents(ReplyForm):
    """Where the schemas are."""

    schemas: dict[str, Any]
    """``Input`` and ``Output``; of a recipe ``TrainingInput`` and ``TrainingOutput`` too."""


class VersionSchema(ReplyForm):
    """What stock clients read of a version's interface."""

    components: SchemaComponents


class VersionObject(ReplyForm):
    """A version: what stock clients read of it, and what its manifest says."""

    id: str
    """SHA-256 of the manifest."""
    created_at: Moment
    cog_version: str
    openapi_schema: VersionSchema
    model: str
    source: str
    """``import``, ``training``, or ``recipe``."""


class ModelObject(ReplyForm):
    """A model with its newest version."""

    path_names: ClassVar[Mapping[str, str]] = {"owner": "owner", "name": "name"}

    url: str
    owner: str
    name: str
    description: str | None
    visibility: Literal["public", "private"]
    github_url: str | None
    paper_url: str | None
    license_url: str | None
    weights_url: str | None
    cover_image_url: str | None
    run_count: int
    """Predictions that were made with it; of a recipe its trainings."""
    default_example: Any
    """The prediction that was published as its example."""
    latest_version: VersionObject | None
    created_at: Moment
    aliases: dict[str, str]
    """Version by alias."""
