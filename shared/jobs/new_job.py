"""What a job is made of, and the name of the queue that it goes to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.jobs.job import SCHEMA, JobKind

_FETCH_LANE = "fetch@"  # no host has this in its name; lib.lua knows it


def queue_of(subject: str, pool: str) -> str:
    """The queue of a version's or a kind's jobs in a pool; one queue has one pool, also after a pool was renamed."""
    return f"{subject}@{pool}"


def subject_of(line: str) -> str:
    """The version or kind whose jobs wait in a line."""
    return line.rstrip("!").partition("@")[0]


def fetch_lane(host: str) -> str:
    """The lane of the downloads from ``host:port``: not its webhooks' lane, which is paused where these fail."""
    return _FETCH_LANE + host


def is_fetch_lane(lane: str) -> bool:
    """Whether a lane is one of downloads."""
    return lane.startswith(_FETCH_LANE)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a job is made of."""

    id: str
    kind: JobKind
    account: str
    key_id: str
    queue: str
    """As ``queue_of`` names it."""
    pool: str
    """The Celery queue whose workers may take it, ``predict.cpu``."""
    input: bytes
    """JSON."""
    priority: str = "normal"
    rows: int = 1
    model: str = ""
    version: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    deadline_seconds: float | None = None
    """From now; ``None`` for the default age of the kind."""
    idempotency_key: str = ""
    body_hash: str = ""
    waiter: str = ""
    """Channel to wake at the job's end."""
    source: str = "api"
    traceparent: str = ""
    webhook: str = ""
    webhook_events: tuple[str, ...] = ()
    webhook_host: str = ""
    """The lane of its deliveries, ``host:port``."""
    is_followed: bool = False
    """Whether it keeps a stream of its events from its start, since its maker is going to read it."""
    fetch_host: str = ""
    """``host:port`` where inputs come from that are URLs; the job is held, in no queue, until ``admit``."""
    file_bytes: int = 0
    """Bytes of the files that the input names, which are in the artifact store and count as input."""

    @property
    def size(self) -> int:
        """Bytes of the input, with all that it names and the URLs that stood in it."""
        urls = sum(map(len, self.details["sources"].values())) if "sources" in self.details else 0
        return len(self.input) + self.file_bytes + urls

    @property
    def scratch(self) -> str:
        """Path in the artifact store of what goes when the job has ended, however it ended."""
        if self.kind is JobKind.TRAINING:
            return f"checkpoints/{self.id}"
        if self.fetch_host:
            return _fetched(self.id)
        return str(self.details.get("upload", ""))

    def record(self, spill: str) -> list[str | int]:
        """Names and values of the record's fields that follow from this, in turn.

        What may be missing is left out where it says nothing, since each field costs every submit and every reading.

        Args:
            spill: Where the input lies in the artifact store, empty where it does not.
        """
        fields: list[str | int] = [
            "schema", SCHEMA, "kind", self.kind, "key_id", self.key_id, "model", self.model, "version", self.version,
            "deadline_by", "default" if self.deadline_seconds is None else "caller", "spill", spill,
            "hook", "".join(event[0] for event in self.webhook_events),
        ]  # fmt: skip
        details = {name: value for name, value in self.details.items() if name != "sources"}
        if details:
            fields += ("details", json.dumps(details))
        if "sources" in self.details:
            fields += ("sources", json.dumps(self.details["sources"]))
        if self.webhook:
            events = ",".join(self.webhook_events)
            fields += ("webhook", self.webhook, "webhook_events", events, "hook_host", self.webhook_host)
        if self.source != "api":
            fields += ("source", self.source)
        if self.traceparent:
            fields += ("traceparent", self.traceparent)
        if self.scratch:
            fields += ("scratch", self.scratch)
        if self.fetch_host:
            fields += ("held", fetch_lane(self.fetch_host))
        if self.is_followed:
            fields += ("followed", 1)
        return fields

    def renamed(self, id: str) -> "NewJob":
        """The same job under another id; what it fetches goes to that one's place."""
        if id == self.id or not self.fetch_host:
            return replace(self, id=id)
        before, after = _fetched(self.id), _fetched(id)
        sources = {place.replace(before, after): url for place, url in self.details["sources"].items()}
        return replace(
            self,
            id=id,
            input=self.input.replace(before.encode(), after.encode()),
            details={**self.details, "sources": sources},
        )


def fetched_path(job_id: str, number: int) -> str:
    """Where the artifact store keeps what a job fetches, while it is open."""
    return f"{_fetched(job_id)}/{number}"


def _fetched(job_id: str) -> str:
    return f"fetched/{job_id}"


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a submission."""

    id: str
    is_new: bool
    """False where an earlier submission made the job; ``id`` is that job's."""
    created_at: float | None = None
    """When this submission made it, by Redis' clock."""
