"""The forms of webhooks: secrets, test messages, deliveries, dead letters and listeners."""

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.form import Page, ReplyForm, RequestForm
from api.schemas.models import Moment


class OldSecretObject(ReplyForm):
    """A rotated secret that still signs."""

    key: str
    expires_at: Moment


class SecretObject(ReplyForm):
    """What signs the account's webhooks."""

    key: str
    """``whsec_`` and base64."""
    old: list[OldSecretObject]
    """Those that sign beside it for a while after a rotation."""


class Rotation(RequestForm):
    """How to change the secret."""

    overlap_seconds: Annotated[float | None, Field(ge=0, le=2_592_000)] = None
    """How long the one so far signs beside the new one; 0 ends it at once; the server's setting unless given."""


class NewTest(RequestForm):
    """Where a test message goes."""

    url: Annotated[str, Field(json_schema_extra={"format": "uri"})]


class DeliveryAttempt(ReplyForm):
    """One attempt to deliver a webhook."""

    event: Literal["start", "progress", "completed", "test"]
    """``progress`` tells of output and logs."""
    webhook_id: str
    """The same at every attempt for one event."""
    attempt: int
    at: Moment
    outcome: Literal["delivered", "failed", "gone", "refused"]
    """``gone``: the receiver answered 410; ``refused``: an address that is never called."""
    status: int | None
    """What the receiver answered; null where it did not."""
    error: str | None
    seconds: float
    reply: str | None
    """The first 500 characters of the receiver's answer."""
    next_attempt_at: Moment | None
    """Null where there is none."""


class TestResult(ReplyForm):
    """What became of a test message."""

    id: str
    url: str
    delivered: bool
    attempt: DeliveryAttempt


class DeliveryLog(Page[DeliveryAttempt]):
    """The attempts for one job, oldest first, at most the last 100."""

    webhook: str | None
    """Where they go."""
    webhook_events_filter: list[str]


class Redelivery(RequestForm):
    """What to send again."""

    event: Literal["start", "completed"] = "completed"


class RedeliveryObject(ReplyForm):
    """What is sent again."""

    event: Literal["start", "completed"]
    webhook_id: str


class DeadLetterObject(ReplyForm):
    """A webhook that was given up."""

    job_id: str
    event: str
    webhook_id: str
    webhook: str
    given_up_at: Moment
    last_attempt: DeliveryAttempt | None
    urls: dict[str, str]


class Replay(RequestForm):
    """Which dead letters to send again."""

    jobs: Annotated[list[str] | None, Field(max_length=100)] = None
    """Ids of their jobs; all of the account's unless given."""


class ReplayObject(ReplyForm):
    """How many are sent again."""

    replayed: int


class NewListener(RequestForm):
    """A receiver on a machine of ours."""

    address: str
    """Loopback address and port, ``127.0.0.1:8099``."""


class ListenerObject(ReplyForm):
    """A receiver that may be called for now."""

    address: str
    expires_at: Moment
    """Registering it again before that renews it."""
