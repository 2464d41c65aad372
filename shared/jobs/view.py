"""How a job looks on the wire: the object that GET answers, that webhooks carry and that streams speak of.

Stock clients decide the form (a null where they want text makes them fail), our own keys come beside theirs.
"""

from datetime import UTC, datetime
from typing import Any

from shared.jobs.job import Job, JobKind, JobStatus
from shared.jobs.store import Place

_HIDDEN = frozenset({"upload", "sources"})
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
    """Makes the objects; one for each process."""

    def __call__(self, job: Job, base: str, place: Place | None = None) -> dict[str, Any]:
        """A job of any kind.

        Args:
            job: The job.
            base: What its URLs begin with.
            place: Where it stands in its queue, if it waits and that was looked up.
        """
        url = base + job_path(job)
        answer: dict[str, Any] = {
            "id": job.id,
            "model": job.model,
            "version": job.version,
            "input": job.input,
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
        if job.status is JobStatus.STARTING:
            answer["queue_position"] = place.position if place else None
            answer["estimated_wait_seconds"] = place.estimated_wait_seconds if place else None
        if job.kind is JobKind.TRAINING:
            answer["destination"] = job.details.get("destination")
            if isinstance(job.output, dict) and job.output.get("version"):
                answer["output"] = {**job.output, "weights": base + _version_path(job.output["version"])}
        return answer


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
