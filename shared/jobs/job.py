"""A job and the moves it may make.

    starting ──> processing ──> succeeded
      │  ^          │   ├─────> failed
      │  └─release──┘   └─────> canceled
      └───────────────────────> failed, canceled

The record in Redis is the truth and only the scripts in ``scripts/`` change it. ``Job`` is what one reading of the
record saw; it never changes.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import Unavailable
from shared.jobs.outputs import OutputFile

SCHEMA = 2
"""Number of the record's form; raised when a field changes its meaning or older code would leave something undone.

1: up to the first webhooks, ``hook`` is 0 or 1. 2: ``hook`` has letters, a job may be held, followed, and have a lane.
Every release reads the forms before its own; the scripts, which have the same number, leave later ones alone.
"""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number, no i, l, o, u
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


class JobKind(StrEnum):
    """What a job does; the same word names URL, queue and metric label."""

    PREDICTION = "prediction"
    TRAINING = "training"
    IMPORT = "import"
    DATASET = "dataset"


class JobStatus(StrEnum):
    """The five statuses; there are no others anywhere."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this status has ended."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


WEIGHTS: Mapping[str, int] = {"high": 1, "normal": 4, "low": 16}
"""Cost of one row for each priority; shares are the inverse, 16 : 4 : 1."""


def new_job_id(shard: str = "a") -> str:
    """A new id: the shard, 48 bits of milliseconds and 77 random bits in base 32; 26 characters, sorts by time."""
    number = (int(time.time() * 1000) & (1 << 48) - 1) << 77 | int.from_bytes(os.urandom(10)) >> 3
    return shard + _ALPHABET[number >> 120] + "".join([_PAIRS[number >> shift & 1023] for shift in range(110, -1, -10)])


@dataclass(frozen=True, slots=True)
class Job:
    """One reading of a job's record, and of its data where that was asked for.

    Times are seconds since the epoch by Redis' clock; ``None`` where the moment has not come.
    """

    id: str
    kind: JobKind
    account: str
    key_id: str
    status: JobStatus
    attempt: int
    queue: str
    pool: str
    priority: str
    rows: int
    bytes: int
    deadline: float
    deadline_by_caller: bool
    created_at: float
    model: str = ""
    version: str = ""
    started_at: float | None = None
    completed_at: float | None = None
    error: str | None = None
    error_code: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: str = "api"
    traceparent: str = ""
    webhook: str = ""
    webhook_events: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the job's kind that never change: a training's ``destination``, an import's options, …; and
    ``sources``, the URLs for which places in the artifact store stand in the input, which go when the input goes."""
    input: Any = None
    output: Any = None
    output_file: OutputFile | None = None
    """Where the output lies instead, if it is too large for a reply."""
    logs: str = ""
    progress: Mapping[str, Any] | None = None
    data_removed: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status.is_terminal

    @property
    def iterates(self) -> bool:
        """Whether the output is the list of the answers to rows, whatever the input was."""
        return self.details.get("iterates") is True


def job_from_record(job_id: str, record: Mapping[str, str], data: Mapping[bytes, bytes] | None = None) -> Job:
    """Reads a ``Job`` out of the hashes ``job:{id}`` and ``data:{id}``.

    Args:
        job_id: The id.
        record: The record's fields as text.
        data: The data's fields as bytes; empty when they were removed, ``None`` when they were not read.

    Raises:
        Unavailable: It is of a kind that only a later release knows.
    """
    try:
        kind, status = JobKind(record["kind"]), JobStatus(record["status"])
    except ValueError as error:
        raise Unavailable("A later release of the service made this job; ask again, its processes answer.") from error
    removed = data is not None and not data and status.is_terminal
    data = data or {}
    output_file = OutputFile.parse(data.get(b"output", b""))

    def moment(name: str) -> float | None:
        return int(record[name]) / 1000 if record.get(name) else None

    def parsed(name: bytes) -> Any:
        return json.loads(data[name]) if data.get(name) else None

    sources = parsed(b"sources")
    return Job(
        id=job_id,
        kind=kind,
        account=record["account"],
        key_id=record["key_id"],
        status=status,
        attempt=int(record["attempt"]),
        queue=record["queue"],
        pool=record["pool"],
        priority=record["priority"],
        rows=int(record["rows"]),
        bytes=int(record["bytes"]),
        deadline=int(record["deadline"]) / 1000,
        deadline_by_caller=record["deadline_by"] == "caller",
        created_at=int(record["created"]) / 1000,
        model=record.get("model", ""),
        version=record.get("version", ""),
        started_at=moment("started"),
        completed_at=moment("ended"),
        error=record.get("error"),
        error_code=record.get("error_code"),
        metrics=json.loads(record.get("metrics") or "{}"),
        source=record.get("source", "api"),
        traceparent=record.get("traceparent", ""),
        webhook=record.get("webhook", ""),
        webhook_events=tuple(filter(None, record.get("webhook_events", "").split(","))),
        details=json.loads(record.get("details") or "{}") | ({"sources": sources} if sources else {}),
        input=parsed(b"input"),
        output=parsed(b"output") if output_file is None else None,
        output_file=output_file,
        logs=data.get(b"logs", b"").decode(errors="replace"),
        progress=parsed(b"progress"),
        data_removed=removed,
    )
