"""Reads the headers that steer a job: how long to wait, when to give up, whether this repeats an earlier request."""

import re
from dataclasses import dataclass

from flask import request

from api.parameters import CANCEL_AFTER_PATTERN
from shared.errors import InvalidInput
from shared.settings import Settings

BARE_WAIT_SECONDS = 55.0
"""What ``Prefer: wait`` without a number holds: a stock client's read timeout is 60 s, after which it posts again."""

_USUAL_MOST_SECONDS = 60.0
_SPARE_SECONDS = 2.0
_LEAST_BEAT_SECONDS = 0.2
_LEAST_DEADLINE_SECONDS = 5.0
# What commas separate, save those inside quotes; what follows a semicolon are parameters, which wait does not have.
_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_WAIT = re.compile(
    r'\s*wait\s*(?:=\s*("?)(?P<whole>[0-9]*)(?P<part>\.[0-9]+)?\1\s*)?(?:;.*)?', re.IGNORECASE | re.DOTALL
)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_COUNT = re.compile(r"[0-9]{1,9}")
_CANCEL_AFTER = re.compile(CANCEL_AFTER_PATTERN)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a request is held."""

    seconds: float = 0.0
    beat_seconds: float = 0.0
    """After how long, and how often, the reply shows that it is coming; 0 where it is sent in one piece."""


NO_WAIT = Wait()


@dataclass(frozen=True, slots=True)
class JobHeaders:
    """What the headers of a create say."""

    wait: Wait = NO_WAIT
    deadline_seconds: float | None = None
    idempotency_key: str = ""
    attempt: int | None = None
    """How often the client says it has tried before, ``None`` where it does not count."""
    traceparent: str = ""


_NONE = JobHeaders()


def read_job_headers(settings: Settings) -> JobHeaders:
    """Reads them from the request under way.

    Raises:
        InvalidInput: ``Cancel-After`` or ``Idempotency-Key`` has a form that it cannot have.
    """
    environ = request.environ
    prefer = environ.get("HTTP_PREFER")
    cancel_after = environ.get("HTTP_CANCEL_AFTER", "").strip()
    key = environ.get("HTTP_IDEMPOTENCY_KEY", "")
    attempt = environ.get("HTTP_X_STAINLESS_RETRY_COUNT")
    traceparent = environ.get("HTTP_TRACEPARENT", "")
    if not (prefer or cancel_after or key or attempt or traceparent):
        return _NONE
    if key and not _KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key must be 1 to 255 visible ASCII characters.", "Idempotency-Key", "format")
    return JobHeaders(
        wait=_held(_preferred(prefer, settings), settings) if prefer else NO_WAIT,
        deadline_seconds=_deadline(cancel_after, settings) if cancel_after else None,
        idempotency_key=key,
        attempt=int(attempt) if attempt and _COUNT.fullmatch(attempt) else None,
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else "",
    )


def read_wait_query(settings: Settings) -> Wait:
    """How long to wait by ``?wait=`` of the request under way.

    Raises:
        InvalidInput: It is no number of seconds.
    """
    text = request.args.get("wait")
    if text is None:
        return NO_WAIT
    if not _SECONDS.fullmatch(text):
        raise InvalidInput("wait must be a number of seconds, for example ?wait=30.", "wait")
    return _held(float(text), settings)


def _preferred(header: str, settings: Settings) -> float:
    """The whole seconds of the preference ``wait``; other preferences are ignored, as RFC 7240 asks."""
    for preference in _PREFERENCE.findall(header):
        match = _WAIT.fullmatch(preference)
        if match:
            whole, part = match["whole"], match["part"]
            if not whole and not part:
                return _bare(settings)
            return float(whole or 0) + (part is not None and part.strip(".0") != "")
    return 0.0


def _bare(settings: Settings) -> float:
    """Seconds for ``wait`` without a number: under every client's read timeout, unless longer waits are set up."""
    most = settings.http.max_wait_seconds
    return most if most > _USUAL_MOST_SECONDS else min(most, BARE_WAIT_SECONDS)


def _held(seconds: float, settings: Settings) -> Wait:
    """The wait that a client gets: it is shown signs of life before its read timeout, or is answered before that."""
    seconds = min(seconds, settings.http.max_wait_seconds)
    if seconds <= 0:
        return NO_WAIT
    # A client that names its wait gives up half a second after it.
    beat = min(settings.http.keepalive_seconds, seconds / 2)
    text = request.environ.get("HTTP_X_STAINLESS_READ_TIMEOUT", "")
    if not _SECONDS.fullmatch(text):
        return Wait(seconds, beat)
    patience = float(text)
    if beat and patience / 3 >= _LEAST_BEAT_SECONDS:
        return Wait(seconds, min(beat, patience / 3))
    return Wait(min(seconds, max(0.0, patience - _SPARE_SECONDS)))


def _deadline(text: str, settings: Settings) -> float:
    match = _CANCEL_AFTER.fullmatch(text)
    if match is None:
        raise InvalidInput(
            "Cancel-After must be seconds or a duration like 30s, 5m, 1h or 1h30m45s.", "Cancel-After", "format"
        )
    hours, minutes, rest = (int(part[:-1]) if part else 0 for part in match.groups()[2:])
    seconds = float(hours * 3600 + minutes * 60 + rest) if text[-1].isalpha() else float(text)
    most = settings.jobs.other_deadline_seconds
    if not _LEAST_DEADLINE_SECONDS <= seconds <= most:
        raise InvalidInput(f"Cancel-After must be from 5 s to {most:.0f} s.", "Cancel-After", "range")
    return seconds
