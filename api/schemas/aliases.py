"""The forms of aliases and their moves."""

from typing import Annotated

from pydantic import Field

from api.schemas.form import ReplyForm, RequestForm
from api.schemas.models import Moment, VersionReference


class NewTarget(RequestForm):
    """Where an alias is to point to, and why."""

    version: VersionReference
    """A version id, ``owner/name`` for its production, or ``owner/name:id``."""
    reason: Annotated[str, Field(max_length=1000)] = ""


class AliasObject(ReplyForm):
    """An alias by its newest move; all null where it was never moved."""

    alias: str
    version: str | None
    sequence: int | None
    moved_at: Moment | None
    by: str | None
    reason: str | None


class AliasMoveObject(ReplyForm):
    """Who moved an alias to which version, when and why."""

    alias: str
    version: str | None
    """Null where the alias was taken away."""
    sequence: int
    moved_at: Moment
    by: str
    reason: str


class PendingMove(ReplyForm):
    """A move that waits for workers to have the version ready."""

    version: str
    ready: list[str]
    missing: list[str]
    left_out: list[str]
    failed: str | None
    """Why the move was refused."""


class AliasState(AliasObject):
    """An alias with all its moves, newest first, and the one that waits."""

    history: list[AliasMoveObject]
    pending: PendingMove | None
