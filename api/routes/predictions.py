"""Predictions: make, read, list, cancel and delete them."""

from dataclasses import replace

import orjson
from flask import Blueprint, Response

from api.auth import ANY_SCOPE, caller, for_pages, needs
from api.bodies import IMAGE_TYPES, Body, check_keys, read_body, whole_input
from api.contract import Media, describe
from api.headers import JobHeaders, read_job_headers
from api.job_views import cancel_job, create_job, delete_job, list_jobs, show_job
from api.pages import check_query
from api.parameters import JOB_FILTERS, JOB_HEADERS, OPTIONS
from api.schemas.creations import (
    DeploymentPredictionParts,
    ModelPredictionParts,
    NewDeploymentPrediction,
    NewModelPrediction,
    NewPrediction,
    PredictionParts,
)
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.services import services
from api.versions import UnknownVersion, admissible, named_version, production
from api.webhook_requests import WEBHOOK_FIELDS, read_webhook
from shared.errors import Forbidden, InvalidInput
from shared.jobs.bells import pool_of
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.models.deployments import Deployment
from shared.models.signature import OPTION_NAMES
from shared.models.version import ModelVersion
from shared.tensors import check_input

routes = Blueprint("predictions", __name__)


@routes.post("/v1/predictions")
@needs("predictions:write")
@describe(
    {201: JobObject},
    body=NewPrediction,
    media=(Media("multipart/form-data", PredictionParts),),
    headers=JOB_HEADERS,
    errors=(404,),
)
def create_prediction() -> Response:
    """Makes a prediction with the version that the body names."""
    headers, body = _read()
    if body.image is not None:
        raise InvalidInput(
            "An image as body goes to /v1/models/OWNER/NAME/predictions; this path takes JSON or multipart.",
            "Content-Type",
        )
    check_keys(body.keys, NewPrediction, is_form=body.raw is None)
    return _create(named_version(body.keys.get("version")), body, headers)


@routes.post("/v1/models/<owner>/<name>/predictions")
@needs("predictions:write")
@for_pages
@describe(
    {201: JobObject},
    body=NewModelPrediction,
    media=(Media("multipart/form-data", ModelPredictionParts), Media(", ".join(IMAGE_TYPES))),
    query=OPTIONS,
    headers=JOB_HEADERS,
)
def create_model_prediction(owner: str, name: str) -> Response:
    """Makes a prediction with the version of a model that is in production, or the one of its versions in the body."""
    headers, body = _read()
    check_keys(body.keys, NewModelPrediction, is_form=body.raw is None)
    if caller().only_model:
        headers = _of_page(f"{owner}/{name}", body, headers)
    reference = body.keys.get("version")
    if reference is None:
        return _create(production(owner, name), body, headers)
    version = named_version(reference)
    if version.model != f"{owner}/{name}":
        raise UnknownVersion
    return _create(version, body, headers)


@routes.post("/v1/deployments/<owner>/<name>/predictions")
@needs("predictions:write")
@describe(
    {201: JobObject},
    body=NewDeploymentPrediction,
    media=(Media("multipart/form-data", DeploymentPredictionParts), Media(", ".join(IMAGE_TYPES))),
    query=OPTIONS,
    headers=JOB_HEADERS,
)
def create_deployment_prediction(owner: str, name: str) -> Response:
    """Makes a prediction with what a deployment serves, in the deployment's pool."""
    headers, body = _read()
    check_keys(body.keys, NewDeploymentPrediction, is_form=body.raw is None)
    if body.keys.get("version") is not None:
        raise InvalidInput("A deployment has its own version; leave version out.", "version", "unsupported")
    found = services()
    deployment = found.deployments.get(owner, name)
    version = found.registry.version(found.registry.resolve(*deployment.model_parts, deployment.name))
    return _create(version, body, headers, deployment)


@routes.get("/v1/predictions")
@needs("read")
@describe({200: Page[JobObject]}, query=JOB_FILTERS)
def list_predictions() -> Response:
    """The caller's predictions, newest first."""
    return list_jobs([JobKind.PREDICTION])


@routes.get("/v1/predictions/<job_id>")
@needs("read")
@for_pages
@describe({200: JobObject}, query=("wait",))
def get_prediction(job_id: str) -> Response:
    """A job of any kind: the replies to the creation of trainings of other servers point here."""
    return show_job(job_id, tuple(JobKind))


@routes.post("/v1/predictions/<job_id>/cancel")
@needs(ANY_SCOPE)
@for_pages
@describe({200: JobObject})
def cancel_prediction(job_id: str) -> Response:
    """Cancels a job of any kind."""
    return cancel_job(job_id, tuple(JobKind))


@routes.delete("/v1/predictions/<job_id>")
@needs("predictions:write")
@describe({204: None})
def delete_prediction(job_id: str) -> Response:
    """Deletes a prediction."""
    return delete_job(job_id, [JobKind.PREDICTION])


def _of_page(model: str, body: Body, headers: JobHeaders) -> JobHeaders:
    """The headers of a create that a page sent: what it repeats is its own, never a job of the key behind its token.

    Raises:
        Forbidden: The page asks for more than its token is good for.
    """
    token = caller()
    if model != token.only_model:
        raise Forbidden(f"This browser token is for {token.only_model} only.")
    for name in ("version", *WEBHOOK_FIELDS):
        if body.keys.get(name):
            raise Forbidden(f"A browser token cannot set {name}; leave it out.")
    key = f"{token.id}:{headers.idempotency_key}" if headers.idempotency_key else ""
    return replace(headers, idempotency_key=key, attempt=None)


def _read() -> tuple[JobHeaders, Body]:
    settings = services().settings
    headers, body = read_job_headers(settings), read_body(settings.inference.max_job_rows)
    check_query(OPTION_NAMES if body.image is not None else ())
    return headers, body


def _create(version: ModelVersion, body: Body, headers: JobHeaders, deployment: Deployment | None = None) -> Response:
    admissible(version)
    if body.image is None and not body.files and "input" not in body.keys:
        raise InvalidInput("input is required.", "input", "required")
    found, key, job_id = services(), caller(), new_job_id()
    settings = found.settings
    given = whole_input(body, version.signature)
    placed = found.input_urls.place(
        version.signature, given, job_id, key.account, found.urls.base, shows_texts=not key.only_model
    )
    checked = check_input(version.signature, placed.value, settings=settings, places=placed.sources)
    pool = pool_of(JobKind.PREDICTION, settings.worker.pool if deployment is None else deployment.hardware)
    new = NewJob(
        id=job_id,
        kind=JobKind.PREDICTION,
        account=key.account,
        key_id=key.id,
        queue=queue_of(version.id, pool),
        pool=pool,
        input=orjson.dumps(placed.value),
        priority=checked.priority,
        rows=checked.rows,
        model=version.model,
        version=version.id,
        details={
            **({"deployment": deployment.full_name} if deployment else {}),
            **({"iterates": True} if version.signature.iterates else {}),
            **placed.details,
        },
        fetch_host=placed.fetch_host,
        file_bytes=placed.file_bytes,
        # Clients of a version that iterates ask for the job again and again, and want the rows that are there.
        is_followed=body.keys.get("stream") is True or (version.signature.iterates and checked.rows > 1),
    )
    return create_job(read_webhook(body.keys, is_form=body.raw is None).added_to(new), headers, body)[0]
