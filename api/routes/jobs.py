"""Jobs of every kind under one path: read, list, cancel and delete them."""

from flask import Blueprint, Response

from api.auth import ANY_SCOPE, needs
from api.contract import describe
from api.job_views import cancel_job, delete_job, list_jobs, show_job
from api.pages import choice_query
from api.parameters import JOB_FILTERS
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from shared.jobs.job import JobKind

routes = Blueprint("jobs", __name__)

_ALL = tuple(JobKind)


@routes.get("/v1/jobs")
@needs("read")
@describe({200: Page[JobObject]}, query=(*JOB_FILTERS, "kind"))
def list_all_jobs() -> Response:
    """The caller's jobs, newest first; of one kind where the query names it."""
    kind = choice_query("kind", [kind.value for kind in _ALL])
    return list_jobs([JobKind(kind)] if kind else _ALL)


@routes.get("/v1/jobs/<job_id>")
@needs("read")
@describe({200: JobObject}, query=("wait",))
def get_job(job_id: str) -> Response:
    """One job."""
    return show_job(job_id, _ALL)


@routes.post("/v1/jobs/<job_id>/cancel")
@needs(ANY_SCOPE)
@describe({200: JobObject})
def cancel_any_job(job_id: str) -> Response:
    """Cancels one job."""
    return cancel_job(job_id, _ALL)


@routes.delete("/v1/jobs/<job_id>")
@needs(ANY_SCOPE)
@describe({204: None})
def delete_any_job(job_id: str) -> Response:
    """Deletes one job."""
    return delete_job(job_id, _ALL)
