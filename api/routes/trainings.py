"""Trainings: make, read, list, cancel and delete them."""

from typing import Any

import orjson
from flask import Blueprint, Response

from api.auth import caller, needs, require
from api.bodies import check_keys, read_json, request_pieces
from api.contract import describe
from api.headers import read_job_headers
from api.job_views import cancel_job, create_job, delete_job, list_jobs, show_job
from api.parameters import JOB_FILTERS, JOB_HEADERS
from api.schemas.creations import NewTraining
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.services import services
from api.versions import UnknownVersion
from api.webhook_requests import read_webhook
from shared.errors import Forbidden, InvalidInput, NotFound
from shared.jobs.bells import pool_of
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.models.recipes import find_recipe
from shared.models.version import RESERVED_OWNER, is_name

routes = Blueprint("trainings", __name__)

_KINDS = (JobKind.TRAINING,)
# What stock clients put into the path where a training names no version.
_LATEST = ("latest", "None")


@routes.post("/v1/models/<owner>/<name>/versions/<version_id>/trainings")
@needs("trainings:write")
@describe({201: JobObject}, body=NewTraining, headers=JOB_HEADERS)
def create_training(owner: str, name: str, version_id: str) -> Response:
    """Trains a recipe and publishes what comes of it as a version of the destination."""
    found = services()
    headers = read_job_headers(found.settings)
    recipe = find_recipe(owner, name)
    if recipe is None:
        found.registry.get_model(owner, name)
        raise InvalidInput(
            f"{owner}/{name} cannot be trained; GET /v1/models lists the recipes, whose owner is {RESERVED_OWNER}.",
            "version",
            "recipe",
        )
    if version_id != recipe.version_id and version_id not in _LATEST:
        raise UnknownVersion
    keys, raw = read_json()
    check_keys(keys, NewTraining)
    destination = _destination(keys.get("destination"))
    if "input" not in keys:
        raise InvalidInput("input is required.", "input", "required")
    parameters = recipe.validate(keys["input"])
    try:
        digest = found.datasets.digest(parameters.dataset)
    except NotFound as error:
        raise InvalidInput(error.detail, "input.dataset", "unknown") from error
    _check_destination(destination)
    key, pool = caller(), pool_of(JobKind.TRAINING, found.settings.worker.pool)
    new = NewJob(
        id=new_job_id(),
        kind=JobKind.TRAINING,
        account=key.account,
        key_id=key.id,
        queue=queue_of(JobKind.TRAINING, pool),
        pool=pool,
        input=orjson.dumps(keys["input"]),
        model=recipe.model,
        version=recipe.version_id,
        is_followed=keys.get("stream") is True,
        details={"destination": destination, "recipe": recipe.name, "dataset": digest},
    )
    return create_job(read_webhook(keys).added_to(new), headers, request_pieces(raw))[0]


@routes.get("/v1/trainings")
@needs("read")
@describe({200: Page[JobObject]}, query=JOB_FILTERS)
def list_trainings() -> Response:
    """The caller's trainings, newest first."""
    return list_jobs(_KINDS)


@routes.get("/v1/trainings/<job_id>")
@needs("read")
@describe({200: JobObject}, query=("wait",))
def get_training(job_id: str) -> Response:
    """One training."""
    return show_job(job_id, _KINDS)


@routes.post("/v1/trainings/<job_id>/cancel")
@needs("trainings:write")
@describe({200: JobObject})
def cancel_training(job_id: str) -> Response:
    """Cancels one training."""
    return cancel_job(job_id, _KINDS)


@routes.delete("/v1/trainings/<job_id>")
@needs("trainings:write")
@describe({204: None})
def delete_training(job_id: str) -> Response:
    """Deletes one training; the version that came of it stays."""
    return delete_job(job_id, _KINDS)


def _destination(value: Any) -> str:
    if value is None:
        raise InvalidInput(
            "destination is required: the model, owner/name, that gets the version.", "destination", "required"
        )
    owner, slash, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or not is_name(owner) or not is_name(name):
        raise InvalidInput(
            "destination must be owner/name in lower-case letters, digits, dots, dashes and underscores.",
            "destination",
            "pattern",
        )
    if owner == RESERVED_OWNER:
        raise Forbidden(f"The owner {RESERVED_OWNER} is reserved for what comes with the service; take another.")
    return f"{owner}/{name}"


def _check_destination(destination: str) -> None:
    """Sees to it that the model is there or that the key may make it; a worker makes it with its first version."""
    owner, _, name = destination.partition("/")
    try:
        services().registry.get_model(owner, name)
    except NotFound:
        require("models:write")
