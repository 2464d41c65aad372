"""How a job looks on the wire: the object that GET answers, that webhooks carry and that streams speak of.

Stock clients decide the form (a null where they want text makes them fail), our own keys come beside theirs.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.jobs.job import Job, JobKind, JobStatus
from shared.jobs.outputs import LargeOutputs
from shared.jobs.store import Place
from shared.jobs.stream_urls import StreamUrls

_HIDDEN = frozenset({"upload", "sources", "deployment", "iterates"})
_PATHS = {JobKind.PREDICTION: "predictions", JobKind.TRAINING: "trainings"}


def moment(seconds: float | None) -> str | None:
    """A time as the wire has it: ISO 8601 in UTC, ending in ``Z``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def job_path(job: Job) -> str:
    """Where a job is read."""
    return f"/v1/{_PATHS.get(job.kind, 'jobs')}/{job.id}"


class JobView:
    """Makes the objects; one for each process.

    Args:
        outputs: Shows the outputs that are too large for a reply.
        streams: Makes the URLs of streams.
    """

    def __init__(self, outputs: LargeOutputs, streams: StreamUrls) -> None:
        self._outputs = outputs
        self._streams = streams

    def __call__(self, job: Job, base: str, place: Place | None = None, *, is_brief: bool = False) -> dict[str, Any]:
        """A job of any kind.

        Args:
            job: The job.
            base: What its URLs begin with.
            place: Where it stands in its queue, if it waits and that was looked up.
            is_brief: One of many: nothing is read from the artifact store for it.
        """
        url = base + job_path(job)
        answer: dict[str, Any] = {
            "id": job.id,
            "model": job.model,
            "version": job.version,
            "input": _input(job),
            "output": job.output,
            "error": job.error,
            "status": job.status,
            "logs": job.logs,
            "metrics": _metrics(job),
            "created_at": moment(job.created_at),
            "started_at": moment(job.started_at),
            "completed_at": moment(job.completed_at),
            "data_removed": job.data_removed,
            "source": job.source,
            "urls": {"get": url, "cancel": url + "/cancel", "web": url},
            "kind": job.kind,
            "attempt": job.attempt,
            "priority": job.priority,
            "rows": job.rows,
            "deadline": moment(job.deadline),
            "error_code": job.error_code,
            "progress": job.progress,
            "details": {name: value for name, value in job.details.items() if name not in _HIDDEN}
            if job.details
            else {},
        }
        if job.webhook:
            answer["webhook"] = job.webhook
            answer["webhook_events_filter"] = list(job.webhook_events)
        if job.kind is JobKind.PREDICTION and not job.data_removed:
            answer["urls"]["stream"] = self._streams.url(job, base)
        if job.output_file is not None:
            answer["output"] = self._outputs.shown(job, base, is_brief=is_brief)
            answer["output_file"] = {"url": self._outputs.url(job, base), "size": job.output_file.size}
        if "deployment" in job.details:
            answer["deployment"] = job.details["deployment"]
        if job.status is JobStatus.STARTING:
            answer["queue_position"] = place.position if place else None
            answer["estimated_wait_seconds"] = place.estimated_wait_seconds if place else None
        if job.kind is JobKind.TRAINING:
            answer["destination"] = job.details.get("destination")
            if isinstance(job.output, dict) and job.output.get("version"):
                answer["output"] = {**job.output, "weights": base + _version_path(job.output["version"])}
        return answer


def _input(job: Job) -> Any:
    """The input as it came: with the URLs in it for which the record has places in the artifact store."""
    sources = job.details.get("sources")
    if not sources or not isinstance(job.input, dict):
        return job.input
    return {name: _sourced(value, sources) for name, value in job.input.items()}


def _sourced(value: Any, sources: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return sources.get(value, value)
    if isinstance(value, list):
        return [sources.get(item, item) if isinstance(item, str) else item for item in value]
    return value


def _metrics(job: Job) -> dict[str, Any]:
    """What the worker measured, and what follows from the record's own times."""
    found = dict(job.metrics)
    if job.started_at is not None:
        found["queue_time"] = round(job.started_at - job.created_at, 6)
    if job.completed_at is not None:
        found["total_time"] = round(job.completed_at - job.created_at, 6)
    if job.attempt:
        found["attempt"] = job.attempt
    return found


def _version_path(reference: str) -> str:
    model, _, version_id = reference.partition(":")
    return f"/v1/models/{model}/versions/{version_id}"
