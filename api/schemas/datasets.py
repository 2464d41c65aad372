"""The form of a data set."""

from typing import Any

from api.schemas.form import ReplyForm
from api.schemas.models import Moment


class DatasetObject(ReplyForm):
    """A data set with the report of its push."""

    name: str | None
    names: list[str]
    digest: str
    kind: str
    created_at: Moment
    examples: int
    bytes: int
    classes: dict[str, int]
    splits: dict[str, int]
    split_classes: dict[str, dict[str, int]]
    image_shape: list[int] | None
    """Height, width and channels where all images share them."""
    channels: int
    seed: int
    fractions: dict[str, Any]
