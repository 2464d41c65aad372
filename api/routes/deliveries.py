"""Deliveries of a job's webhooks: what became of each attempt, and sending one again."""

from flask import Blueprint, Response

from api.auth import caller, needs
from api.contract import describe
from api.json_body import read_as_if_any
from api.json_response import json_response
from api.pages import page_object
from api.schemas.webhooks import DeliveryLog, Redelivery, RedeliveryObject
from api.services import services
from shared.errors import Conflict, NotFound
from shared.jobs.job import Job, JobKind
from shared.webhooks.signing import message_id

routes = Blueprint("deliveries", __name__)

_ALL = tuple(JobKind)
_TRAININGS = (JobKind.TRAINING,)


@routes.get("/v1/predictions/<job_id>/webhook-deliveries")
@needs("read")
@describe({200: DeliveryLog})
def list_prediction_deliveries(job_id: str) -> Response:
    """The attempts to deliver the webhooks of a job of any kind."""
    return _list(_own(job_id, _ALL))


@routes.get("/v1/trainings/<job_id>/webhook-deliveries")
@needs("read")
@describe({200: DeliveryLog})
def list_training_deliveries(job_id: str) -> Response:
    """The attempts to deliver the webhooks of a training."""
    return _list(_own(job_id, _TRAININGS))


@routes.get("/v1/jobs/<job_id>/webhook-deliveries")
@needs("read")
@describe({200: DeliveryLog})
def list_job_deliveries(job_id: str) -> Response:
    """The attempts to deliver the webhooks of a job of any kind."""
    return _list(_own(job_id, _ALL))


@routes.post("/v1/predictions/<job_id>/webhook-deliveries/redeliver")
@needs("webhooks:write")
@describe({202: RedeliveryObject}, body=Redelivery, is_body_required=False, errors=(409,))
def redeliver_prediction(job_id: str) -> Response:
    """Sends a webhook of a job again, now, under its old id, its tries counted anew."""
    return _redeliver(_own(job_id, _ALL))


@routes.post("/v1/trainings/<job_id>/webhook-deliveries/redeliver")
@needs("webhooks:write")
@describe({202: RedeliveryObject}, body=Redelivery, is_body_required=False, errors=(409,))
def redeliver_training(job_id: str) -> Response:
    """Sends a webhook of a training again."""
    return _redeliver(_own(job_id, _TRAININGS))


@routes.post("/v1/jobs/<job_id>/webhook-deliveries/redeliver")
@needs("webhooks:write")
@describe({202: RedeliveryObject}, body=Redelivery, is_body_required=False, errors=(409,))
def redeliver_job(job_id: str) -> Response:
    """Sends a webhook of a job again."""
    return _redeliver(_own(job_id, _ALL))


def _own(job_id: str, kinds: tuple[JobKind, ...]) -> Job:
    job = services().submission.peek(job_id, caller().account)
    if job is None or job.kind not in kinds:
        raise NotFound(f"There is no job {job_id[:64]} of this account; it may have been deleted.")
    return job


def _list(job: Job) -> Response:
    facts = {"webhook": job.webhook or None, "webhook_events_filter": list(job.webhook_events)}
    return json_response({**page_object(services().outgoing.log(job.id)), **facts})


def _redeliver(job: Job) -> Response:
    event = read_as_if_any(Redelivery).event
    if not job.webhook or event not in job.webhook_events:
        raise Conflict(f"The job has no webhook for {event!r}; a job gets its webhook when it is made.")
    if not services().outgoing.redeliver(job.id, event):
        raise Conflict(f"There is nothing to send yet: the job is {job.status}.")
    return json_response({"event": event, "webhook_id": message_id(job.id, event)}, 202)
