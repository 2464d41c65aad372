"""What all routes on jobs share: find one of the caller's, show, list, cancel and delete it."""

from collections.abc import Iterable, Sequence
from typing import Any

from flask import Response, request

from api.auth import WRITE_SCOPES, caller, owns, require
from api.headers import JobHeaders, read_wait_query
from api.json_response import json_response, no_content
from api.pages import choice_query, limit_query, moment_query, page_object
from api.parameters import ELSEWHERE, SOURCES
from api.replies import job_reply
from api.services import Services, services
from api.submission import as_created
from shared.errors import NotFound
from shared.jobs.job import Job, JobKind, JobStatus
from shared.jobs.new_job import NewJob
from shared.jobs.view import job_path


def create_job(new: NewJob, headers: JobHeaders, pieces: Iterable[bytes]) -> tuple[Response, bool]:
    """Makes a job and answers 201 with it; also says whether it was made by this call."""
    found = services()
    answer = found.submission.create(new, headers, pieces)
    base = found.urls.base

    def shown(job: Job) -> dict[str, Any]:
        return found.view(job if answer.is_new or job.is_terminal else as_created(job), base)

    location = {"Location": base + job_path(answer.job)}
    return job_reply(answer, shown, headers.wait.beat_seconds, 201, location), answer.is_new


def show_job(job_id: str, kinds: Sequence[JobKind]) -> Response:
    """The caller's job, after its end if the query waits for that."""
    found = services()
    wait = read_wait_query(found.settings)
    known = found.submission.read(job_id, caller().account)
    if known is None or known.kind not in kinds or not owns(known):
        raise _not_found(job_id)
    answer = found.submission.follow(known, wait)
    if answer is None:
        raise _not_found(job_id)
    base = found.urls.base
    return job_reply(answer, lambda job: _whole(found, job, base), wait.beat_seconds)


def list_jobs(kinds: Sequence[JobKind]) -> Response:
    """A page of the caller's jobs, newest first."""
    found = services()
    status = choice_query("status", [status.value for status in JobStatus])
    source = choice_query("source", SOURCES)
    page = found.jobs.list(
        caller().account,
        kinds,
        model=_text("model"),
        version=_text("version"),
        status=JobStatus(status) if status else None,
        created_after=moment_query("created_after"),
        created_before=moment_query("created_before"),
        cursor=_text("cursor"),
        limit=limit_query(),
    )
    if source == ELSEWHERE:  # there is nothing else, and no page after it
        return json_response(page_object([]))
    base = found.urls.base
    results = [found.view(job, base, is_brief=True) for job in page.jobs]
    return json_response(page_object(results, page.next_cursor, page.previous_cursor))


def cancel_job(job_id: str, kinds: Sequence[JobKind]) -> Response:
    """Cancels the caller's job; one that has ended stays as it is."""
    job = _own(job_id, kinds)
    found = services()
    if found.queue.cancel(job.id) == JobStatus.STARTING:
        _drop_upload(job)
    ended = found.jobs.get(job.id)
    if ended is None:
        raise _not_found(job_id)
    return json_response(_whole(found, ended, found.urls.base))


def delete_job(job_id: str, kinds: Sequence[JobKind]) -> Response:
    """Deletes the caller's job and all it left, after canceling it if it has not ended."""
    job = _own(job_id, kinds)
    found = services()
    if not found.queue.delete(job.id):
        found.queue.cancel(job.id)
        found.queue.delete(job.id)
    _drop_upload(job)
    return no_content()


def _own(job_id: str, kinds: Sequence[JobKind]) -> Job:
    """The caller's job without its data, if the caller may change it."""
    found = services()
    job = found.submission.peek(job_id, caller().account)
    if job is None or job.kind not in kinds or not owns(job):
        raise _not_found(job_id)
    require(WRITE_SCOPES[job.kind])
    return job


def _whole(found: Services, job: Job, base: str) -> dict[str, Any]:
    place = found.jobs.place(job) if job.status is JobStatus.STARTING else None
    return found.view(job, base, place)


def _drop_upload(job: Job) -> None:
    upload = job.details.get("upload")
    if upload:
        services().uploads.drop(upload)


def _not_found(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id[:64]} of this account; it may have been deleted.")


def _text(name: str) -> str | None:
    return request.args.get(name) or None
