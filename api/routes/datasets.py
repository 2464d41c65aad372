"""Data sets: push, list, read and delete them."""

import orjson
from flask import Blueprint, Response

from api.auth import caller, needs
from api.contract import Media, describe
from api.headers import read_job_headers
from api.json_response import json_response, no_content
from api.pages import cut, page_object
from api.parameters import JOB_HEADERS, PAGED
from api.schemas.creations import DatasetFile
from api.schemas.datasets import DatasetObject
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.services import services
from api.upload_jobs import create_upload_job
from api.uploads import received
from shared.datasets.dataset import parse_fractions, parse_seed
from shared.errors import InvalidInput
from shared.jobs.job import JobKind
from shared.models.version import is_name

routes = Blueprint("datasets", __name__)

_FIELDS = tuple(name for name in DatasetFile.model_fields if name != "file")


@routes.post("/v1/datasets")
@needs("datasets:write")
@describe({201: JobObject}, media=(Media("multipart/form-data", DatasetFile),), headers=JOB_HEADERS)
def push_dataset() -> Response:
    """Takes an archive of labelled images and answers with the job that makes a data set of it."""
    found = services()
    headers = read_job_headers(found.settings)
    with received(found.settings, found.settings.datasets.max_upload_bytes, _FIELDS) as upload:
        name = upload.fields.get("name", "")
        if not is_name(name):
            raise InvalidInput(
                "name is required: up to 63 lower-case letters, digits, dots, dashes and underscores.",
                "name",
                "pattern" if name else "required",
            )
        splits = upload.fields.get("splits")
        try:
            fractions = parse_fractions(orjson.loads(splits) if splits else None)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"splits is not JSON: {error}.", "splits", "json") from error
        told = {"name": name, "seed": parse_seed(upload.fields.get("seed") or None), "splits": fractions}
        return create_upload_job(JobKind.DATASET, upload, headers, caller(), details=told, shown=told)


@routes.get("/v1/datasets")
@needs("read")
@describe({200: Page[DatasetObject]}, query=PAGED)
def list_datasets() -> Response:
    """All data sets, newest first; one that several pushes named is listed under each name, with that push's report."""
    page, following, previous = cut(
        services().datasets.list(), lambda dataset: (dataset.created_at, dataset.digest, dataset.name or "")
    )
    return json_response(page_object([dataset.public() for dataset in page], following, previous))


@routes.get("/v1/datasets/<name_or_digest>")
@needs("read")
@describe({200: DatasetObject})
def get_dataset(name_or_digest: str) -> Response:
    """One data set with its report."""
    return json_response(services().datasets.get(name_or_digest).public())


@routes.delete("/v1/datasets/<name_or_digest>")
@needs("datasets:write")
@describe({204: None})
def delete_dataset(name_or_digest: str) -> Response:
    """Deletes a data set; versions that were trained on it keep its digest."""
    services().datasets.delete(name_or_digest)
    return no_content()
