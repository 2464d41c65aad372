"""Signs and verifies webhooks as Standard Webhooks 1.0 says.

The headers are ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``; signed is ``{id}.{timestamp}.{body}``,
by HMAC-SHA256 under what follows ``whsec_`` in the secret, as base64.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300
"""How old, or how far ahead of the receiver's clock, a webhook may be."""

_SECRET_BYTES = 32
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class InvalidWebhook(Exception):
    """Raised when a webhook is not what its sender signed; its text is a sentence for the receiver."""


def new_secret() -> str:
    """A secret in the one alphabet that every verifier reads: base64 without ``-`` and ``_``."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def message_id(job_id: str, event: str) -> str:
    """The id of the one message about an event of a job: the same at every attempt, by whichever worker."""
    return "msg_" + hashlib.sha256(f"{job_id}:{event}".encode()).hexdigest()[:32]


def passing_id() -> str:
    """An id for a message of which a job sends many, each of them once."""
    return "msg_" + secrets.token_hex(16)


def signed_headers(keys: Sequence[str], id_: str, body: bytes, now: float | None = None) -> dict[str, str]:
    """The three headers of one attempt.

    Args:
        keys: The secrets that sign it, the newest first; two of them during a rotation.
        id_: The message's id.
        body: The bytes that are sent, exactly.
        now: Seconds since the epoch; the clock's unless given.
    """
    timestamp = str(int(time.time() if now is None else now))
    return {
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(key, id_, timestamp, body) for key in keys),
    }


def verify(key: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> None:
    """Makes sure that a webhook was signed under a secret, and not long ago.

    Args:
        key: The secret, ``whsec_…``.
        headers: The request's headers.
        body: Its body, exactly as it came.
        now: Seconds since the epoch; the clock's unless given.

    Raises:
        InvalidWebhook: It was not.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not sent.get(name)]
    if missing:
        raise InvalidWebhook(f"The request has no header {', '.join(missing)}.")
    timestamp = sent["webhook-timestamp"]
    if not _TIMESTAMP.fullmatch(timestamp):
        raise InvalidWebhook("webhook-timestamp is no number of seconds.")
    age = (time.time() if now is None else now) - int(timestamp)
    if abs(age) > TOLERANCE_SECONDS:
        raise InvalidWebhook(
            f"The webhook is {age:.0f} s old; at most {TOLERANCE_SECONDS} s, early or late, are taken."
        )
    expected = _signature(key, sent["webhook-id"], timestamp, body).encode()
    if not any(hmac.compare_digest(expected, found.encode()) for found in sent["webhook-signature"].split()):
        raise InvalidWebhook("No signature fits: the body was changed on its way, or the secret is another one.")


def _signature(key: str, id_: str, timestamp: str, body: bytes) -> str:
    try:
        secret = base64.b64decode(key.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidWebhook("The secret is not whsec_ and base64.") from error
    digest = hmac.new(secret, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
