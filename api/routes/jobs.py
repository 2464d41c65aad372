"""Jobs of every kind under one path: read, list, cancel and delete them."""

from flask import Blueprint, Response, request

from api.auth import ANY_SCOPE, needs, public
from api.contract import Media, describe
from api.downloads import download
from api.job_views import cancel_job, delete_job, list_jobs, show_job
from api.pages import choice_query
from api.parameters import JOB_FILTERS
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.services import services
from api.submission import is_job_id
from shared.errors import Forbidden, NotFound
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


@routes.get("/v1/jobs/<job_id>/output")
@public
@describe(
    {200: Media("application/json"), 206: Media("application/json"), 304: None},
    query=("token",),
    errors=(403, 404, 416),
)
def get_output(job_id: str) -> Response:
    """An output that is too large for a reply, to whoever has the link that the job shows in its place."""
    found = services()
    job = found.jobs.get(job_id) if is_job_id(job_id) else None
    if job is None or not found.outputs.opens(job, request.args.get("token", "")):
        raise Forbidden("The link is not signed by this server, or its time is over; GET of the job has a fresh one.")
    if job.output_file is None:
        raise NotFound("The job has no output of its own file, or has it no longer.")
    path = job.output_file.path
    return download(path, name=f"{job_id}.json", content_type="application/json", etag=path.rpartition("/")[2])


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
