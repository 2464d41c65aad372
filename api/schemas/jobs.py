"""The form of a job, which is one for every kind."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from api.schemas.form import ReplyForm
from api.schemas.models import Moment
from shared.jobs.job import JobKind, JobStatus


class OutputFile(ReplyForm):
    """An output that is too large for a reply."""

    url: str
    """A signed link to the JSON, good for a while; each reply has a fresh one."""
    size: int
    """Its bytes."""


class JobObject(ReplyForm):
    """One unit of work of any kind."""

    path_names: ClassVar[Mapping[str, str]] = {"job_id": "id"}

    id: str
    model: str
    """``owner/name``; empty where the job has none."""
    version: str
    input: Any
    """As it was sent; null once it was removed."""
    output: Any
    """What its kind puts out; null until the job has ended; a URL where it is too large for a reply."""
    error: str | None
    """The code and a sentence, ``E1003: the image is truncated``."""
    status: JobStatus
    logs: str | None
    metrics: dict[str, Any]
    """``predict_time``, ``queue_time`` and ``total_time`` in seconds, and more."""
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    data_removed: bool
    """Whether input, output and logs are gone."""
    source: str
    urls: dict[str, str]
    """``get``, ``cancel``, ``web``; ``stream`` where there is one."""
    kind: JobKind
    attempt: int
    """How often a worker has taken it."""
    priority: Literal["high", "normal", "low"]
    rows: int
    deadline: Moment | None
    """When it ends by itself."""
    error_code: str | None
    progress: dict[str, Any] | None
    """What a training last said of itself."""
    details: dict[str, Any]
    """Facts of its kind, such as the destination of a training."""
    webhook: str = ""
    """Where its webhooks go; left out where they go nowhere."""
    webhook_events_filter: list[str] = []
    """Of what they tell; left out likewise."""
    queue_position: int | None = None
    """Jobs that are ahead of it in its queue, null where that was not looked up; left out unless it is ``starting``."""
    estimated_wait_seconds: float | None = None
    """From the pace of its queue, null where nothing tells; left out likewise."""
    output_file: OutputFile | None = None
    """Left out where the output fits into a reply."""
    deployment: str = ""
    """``owner/name`` of the deployment that it was made for; left out where it was made for none."""
    destination: str | None = None
    """``owner/name`` of the model that gets the version; trainings only."""
