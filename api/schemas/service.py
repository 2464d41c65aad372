"""The forms of what the service says of itself and of the caller."""

from typing import Literal

from api.schemas.form import ReplyForm
from api.schemas.models import Moment


class KeyObject(ReplyForm):
    """What is kept of a key; never the key."""

    id: str
    prefix: str
    name: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None


class AccountObject(ReplyForm):
    """Whom the key speaks for."""

    type: Literal["organization", "user"]
    username: str
    name: str
    key: KeyObject


class Liveness(ReplyForm):
    """The process runs."""

    status: Literal["live"]


class Dependency(ReplyForm):
    """One thing that the process depends on."""

    ready: bool
    detail: str | None
    """Why it is not ready."""


class Readiness(ReplyForm):
    """Whether requests can be answered."""

    status: Literal["ready", "not ready"]
    dependencies: dict[str, Dependency]
    workers: dict[str, int] | None
    """How many workers of each kind live, which decides nothing; null where Redis does not answer."""
