"""The forms of what people are told of models: changes of their texts, search, collections."""

from typing import Annotated, Any

from pydantic import Field

from api.schemas.form import ReplyForm, RequestForm
from api.schemas.models import Link, ModelObject, Text


class ModelChanges(RequestForm):
    """What is to change of a model; the rest stays, and an empty text takes one away."""

    description: Text | None = None
    readme: Annotated[str, Field(max_length=100_000)] | None = None
    """Markdown."""
    github_url: Link = None
    paper_url: Link = None
    license_url: Link = None
    weights_url: Link = None
    cover_image_url: Link = None
    default_example: Annotated[str, Field(max_length=64)] | None = None
    """Id of a prediction of the caller's with this model that succeeded: a copy is published; null takes it away."""


class CollectionEntry(ReplyForm):
    """A collection in a list."""

    slug: str
    name: str
    description: str


class CollectionObject(CollectionEntry):
    """A collection of models."""

    models: list[ModelObject]


class FoundModel(ReplyForm):
    """A model that a search found."""

    model: ModelObject
    metadata: dict[str, Any]
    """``score``: 1 where the name is the text, less where only the description has its words."""


class FoundCollection(CollectionEntry):
    """A collection that a search found."""

    models: list[str]


class Found(ReplyForm):
    """What a search found."""

    query: str
    models: list[FoundModel]
    collections: list[FoundCollection]
    pages: list[Any]
    """Empty: there are no pages to search."""
