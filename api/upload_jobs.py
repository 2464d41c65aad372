"""Turns a received upload into the job that reads it."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response

from api.headers import JobHeaders
from api.job_views import create_job
from api.services import services
from api.uploads import Upload
from api.webhook_requests import read_webhook
from shared.api_keys import ApiKey
from shared.errors import Unavailable
from shared.jobs.bells import pool_of
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of


def create_upload_job(
    kind: JobKind,
    upload: Upload,
    headers: JobHeaders,
    key: ApiKey,
    *,
    details: Mapping[str, Any],
    shown: Mapping[str, Any],
    model: str = "",
) -> Response:
    """Puts the file into the artifact store, makes the job and answers with it.

    Args:
        kind: An import or a data set.
        upload: What was received.
        headers: What the request's headers ask for.
        key: Whose job it is.
        details: What the worker has to know; the place of the file comes to it.
        shown: What the job shows as its input.
        model: The model that the job is about.
    """
    found = services()
    webhook = read_webhook(upload.fields, is_form=True)
    job_id, pool = new_job_id(), pool_of(kind, found.settings.worker.pool)
    facts = {"filename": upload.filename, "bytes": upload.size, "sha256": upload.sha256}
    path = found.uploads.keep(upload.content, job_id)
    new = NewJob(
        id=job_id,
        kind=kind,
        account=key.account,
        key_id=key.id,
        queue=queue_of(kind, pool),
        pool=pool,
        input=orjson.dumps({**shown, **facts}),
        model=model,
        details={**details, **facts, "upload": path},
    )
    try:
        response, _ = create_job(webhook.added_to(new), headers, upload.pieces())
    except Unavailable:
        # The job may have been accepted all the same; if not, the file goes when its time is over.
        raise
    except Exception:
        found.uploads.drop(path)
        raise
    if not found.jobs.peek(job_id):
        found.uploads.drop(path)  # an earlier request made the job, with a file of its own
    return response
