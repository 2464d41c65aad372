"""Every parameter of every route by its name: one that two routes have means the same at both."""

from collections.abc import Mapping
from typing import Any

from shared.jobs.job import JobKind, JobStatus
from shared.models.version import NAME_PATTERN, VERSION_ID_PATTERN

PAGED = ("cursor", "limit")
"""Query of every list."""

OPTIONS = ("top_k", "threshold", "priority")
"""Query of a prediction whose body is an image, where no ``input`` can have them."""

JOB_FILTERS = (*PAGED, "model", "version", "status", "created_after", "created_before", "source")
"""Query of every list of jobs."""

MAX_LIMIT = 100
"""Most results on one page, and as many as there are without ``limit``."""

SORTS = ("model_created_at", "latest_version_created_at")
DIRECTIONS = ("desc", "asc")

ELSEWHERE = "web"
"""Where jobs of Replicate's own site come from, and none of this service."""

SOURCES = ("api", ELSEWHERE)
"""Where a job may come from."""

CANCEL_AFTER_PATTERN = r"^([0-9]+(\.[0-9]+)?|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,9}s)?)$"
"""What ``Cancel-After`` looks like: seconds, or hours, minutes and seconds; the groups 3 to 5 are the latter."""

LOOPBACK_PATTERN = (
    r"^(127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[::1\])"
    r":(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$"
)
"""What a loopback address with its port looks like."""

_NAME = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
_MOMENT = {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}
_JOB_ID = {"type": "string", "pattern": "^[0-9a-z]{26}$"}

PATH: Mapping[str, tuple[str, dict[str, Any]]] = {
    "owner": ("Owner of the model.", _NAME),
    "name": ("Name of the model.", _NAME),
    "version_id": ("Id of the version.", {"type": "string", "pattern": f"^{VERSION_ID_PATTERN}$"}),
    "alias": ("Name of the alias.", _NAME),
    "slug": ("Name of the collection.", {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}),
    "job_id": ("Id of the job.", _JOB_ID),
    "address": (
        "Loopback address and port of the receiver.",
        {"type": "string", "pattern": LOOPBACK_PATTERN},
    ),
    "name_or_digest": ("Name of the data set, or its digest.", {"type": "string", "pattern": "^[a-z0-9._-]{1,64}$"}),
    "asset": ("Name of a file.", {"type": "string"}),
    "token": ("What lets in, as the URL in a reply has it.", {"type": "string"}),
    "file_id": ("Id of the file.", {"type": "string"}),
}
"""What stands in paths: what it is, and its form."""

QUERY: Mapping[str, tuple[str, dict[str, Any]]] = {
    "cursor": ("Where the page begins, as `next` and `previous` of another page have it.", {"type": "string"}),
    "limit": (
        "Most results on the page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
    ),
    "model": ("Only jobs of this model, `owner/name`.", {"type": "string"}),
    "version": ("Only jobs of this version.", {"type": "string"}),
    "status": ("Only jobs of this status.", {"type": "string", "enum": [status.value for status in JobStatus]}),
    "kind": ("Only jobs of this kind.", {"type": "string", "enum": [kind.value for kind in JobKind]}),
    "created_after": ("Only jobs made after this moment.", _MOMENT),
    "created_before": ("Only jobs made before this moment.", _MOMENT),
    "source": (
        "Only jobs that were made there; every job of this service comes by the API, so `web` has none.",
        {"type": "string", "enum": list(SOURCES)},
    ),
    "sort_by": ("What orders the list.", {"type": "string", "enum": list(SORTS), "default": SORTS[1]}),
    "sort_direction": ("Newest or oldest first.", {"type": "string", "enum": list(DIRECTIONS), "default": "desc"}),
    "force": (
        "`true` deletes even while an alias points to a version.",
        {"type": "string", "enum": ["true", "false"], "default": "false"},
    ),
    "query": (
        "Only what has every one of these words in its name or description.",
        {"type": "string"},
    ),
    "last_event_id": (
        "The id of the last event that was read, for readers that cannot send the header `Last-Event-ID`.",
        {"type": "string"},
    ),
    "owner": ("Whose file it is.", {"type": "string"}),
    "expiry": ("When the link stops working, in seconds since the epoch.", {"type": "string"}),
    "signature": ("The base64 HMAC-SHA256 of `{owner} {id} {expiry}`.", {"type": "string"}),
    "token": ("What the link was signed with.", {"type": "string"}),
    "wait": (
        "Answer when the job has ended, or after so many seconds.",
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["30"]},
    ),
    "top_k": ("How many of the best labels to answer.", {"type": "integer", "minimum": 1}),
    "threshold": ("Abstain where the best score is lower.", {"type": "number", "minimum": 0, "maximum": 1}),
    "priority": ("Share of the workers.", {"type": "string", "enum": ["high", "normal", "low"], "default": "normal"}),
}
"""What queries may have."""

HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Last-Event-ID": ("The id of the last event that was read; the stream goes on after it.", {"type": "string"}),
    "Prefer": (
        "`wait` or `wait=N`: answer when the job has ended, or after N seconds, whichever is first.",
        {"type": "string", "examples": ["wait", "wait=30"]},
    ),
    "Idempotency-Key": (
        "The same key never makes a second job; an empty one counts as none.",
        {"type": "string", "pattern": r"^[\x21-\x7e]{0,255}$"},
    ),
    "Cancel-After": (
        "Cancel the job when it has not ended by then: seconds, or hours, minutes and seconds; at least 5 s. An empty "
        "one counts as none.",
        {"type": "string", "pattern": CANCEL_AFTER_PATTERN, "examples": ["30s", "5m", "1h30m45s", "90", "7.5"]},
    ),
}
"""What request headers mean something."""

JOB_HEADERS = ("Prefer", "Idempotency-Key", "Cancel-After")
"""What every route takes that makes a job."""
