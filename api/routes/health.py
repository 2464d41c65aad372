"""Whether the process lives, whether it can serve, and the figures of the service."""

from collections import Counter

from flask import Blueprint, Response

from api.auth import needs, public
from api.contract import Media, describe
from api.json_response import json_response
from api.schemas.service import Liveness, Readiness
from api.services import services
from shared.errors import ServiceError
from shared.metrics import CONTENT_TYPE
from shared.readiness import redis_problem

routes = Blueprint("health", __name__)


@routes.get("/livez")
@public
@describe({200: Liveness})
def live() -> Response:
    """Answers as long as the process does; depends on nothing."""
    return json_response({"status": "live"})


@routes.get("/readyz")
@public
@describe({200: Readiness, 503: Readiness})
def ready() -> Response:
    """What the process depends on, each by itself; 503 unless all of it answers.

    Workers are counted and no more: without one, jobs are accepted and wait.
    """
    problems = {"redis": redis_problem(services().redis, services().settings), "artifacts": _artifacts_problem()}
    is_ready = not any(problems.values())
    states = {name: {"ready": not problem, "detail": problem} for name, problem in problems.items()}
    answer = {"status": "ready" if is_ready else "not ready", "dependencies": states, "workers": _workers()}
    return json_response(answer, 200 if is_ready else 503)


@routes.get("/metrics")
@needs("metrics:read")
@describe({200: Media("text/plain")})
def metrics() -> Response:
    """The figures in Prometheus' text form."""
    return Response(services().metrics.text(), content_type=CONTENT_TYPE)


def _artifacts_problem() -> str | None:
    try:
        return services().artifacts.problem()
    except ServiceError as error:
        return error.detail


def _workers() -> dict[str, int] | None:
    try:
        return dict(Counter(worker.kind for worker in services().heartbeats.living()))
    except ServiceError:
        return None
