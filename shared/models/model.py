"""A model: a name that versions belong to, and what people are told about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
"""Number of the record's form; raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is kept of a model beside its versions."""

    owner: str
    name: str
    created_at: str
    description: str = ""
    visibility: str = "private"
    github_url: str = ""
    paper_url: str = ""
    license_url: str = ""
    cover_image_url: str = ""
    weights_url: str = ""
    example: str = ""
    """Id of the prediction that is shown as its example, of which a copy is kept beside the record."""
    schema: int = SCHEMA

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """The record as it is kept."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Model":
        """Reads a record."""
        return cls(**form)
