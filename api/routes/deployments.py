"""Deployments: make, list, read, change and delete them; predictions reach them in ``predictions``."""

from typing import Any

from flask import Blueprint, Response

from api.auth import caller, needs
from api.contract import describe
from api.json_body import read_as
from api.json_response import json_response, no_content
from api.pages import cut, page_object
from api.parameters import PAGED
from api.schemas.deployments import DeploymentChanges, DeploymentObject, Hardware, NewDeployment
from api.schemas.form import Page
from api.services import services
from api.versions import admissible, named_version
from shared.errors import InvalidInput
from shared.models.deployments import Deployment

routes = Blueprint("deployments", __name__)


@routes.get("/v1/deployments")
@needs("read")
@describe({200: Page[DeploymentObject]}, query=PAGED)
def list_deployments() -> Response:
    """All deployments, by owner and name."""
    page, following, previous = cut(services().deployments.list(), lambda one: (one.full_name,), descending=False)
    return json_response(page_object([deployment_object(one) for one in page], following, previous))


@routes.post("/v1/deployments")
@needs("models:write")
@describe({201: DeploymentObject}, body=NewDeployment, errors=(404, 409))
def create_deployment() -> Response:
    """Makes a deployment of the caller's account: a name for an alias of a model in a pool of workers."""
    found = services()
    told, _ = read_as(NewDeployment)
    version = admissible(named_version(told.version))
    if version.model != told.model:
        raise InvalidInput(f"The version belongs to {version.model}, not to {told.model}.", "version", "unknown")
    key = caller()
    made = found.deployments.create(
        key.account, told.name, version, told.hardware, (told.min_instances, told.max_instances), _by()
    )
    url = found.urls(f"/v1/deployments/{made.full_name}")
    return json_response(deployment_object(made), 201, {"Location": url})


@routes.get("/v1/deployments/<owner>/<name>")
@needs("read")
@describe({200: DeploymentObject})
def get_deployment(owner: str, name: str) -> Response:
    """One deployment with what it serves now."""
    return json_response(deployment_object(services().deployments.get(owner, name)))


@routes.patch("/v1/deployments/<owner>/<name>")
@needs("models:write")
@describe({200: DeploymentObject}, body=DeploymentChanges, errors=(409,))
def change_deployment(owner: str, name: str) -> Response:
    """Changes a deployment; a new version serves as soon as the workers of its pool have it ready."""
    told, _ = read_as(DeploymentChanges)
    found = services().deployments
    found.get(owner, name)
    changed = found.update(
        owner,
        name,
        _by(),
        version=None if told.version is None else admissible(named_version(told.version)),
        hardware=told.hardware,
        instances=(told.min_instances, told.max_instances),
    )
    return json_response(deployment_object(changed))


@routes.delete("/v1/deployments/<owner>/<name>")
@needs("models:write")
@describe({204: None})
def delete_deployment(owner: str, name: str) -> Response:
    """Deletes a deployment; the alias goes with it where it came with it. Jobs that are under way go on."""
    services().deployments.delete(owner, name, _by())
    return no_content()


@routes.get("/v1/hardware")
@needs("read")
@describe({200: list[Hardware]})
def list_hardware() -> Response:
    """The pools of workers: this service's own, and every other that has a living worker."""
    pools = services().deployments.pools()
    return json_response([{"sku": pool, "name": _workers(pool, count)} for pool, count in pools.items()])


def deployment_object(deployment: Deployment) -> dict[str, Any]:
    """A deployment as the wire has it."""
    release = services().deployments.release(deployment)
    answer: dict[str, Any] = {"owner": deployment.owner, "name": deployment.name, "current_release": None}
    if release is not None:
        account = release.created_by.partition("/")[0]
        answer["current_release"] = {
            "number": release.number,
            "model": deployment.model,
            "version": release.version,
            "created_at": release.created_at,
            "created_by": {"type": "organization", "username": account, "name": account},
            "configuration": {
                "hardware": deployment.hardware,
                "min_instances": deployment.min_instances,
                "max_instances": deployment.max_instances,
            },
        }
    return answer


def _workers(pool: str, count: int) -> str:
    return f"{pool}: {count or 'no'} inference worker{'' if count == 1 else 's'}"


def _by() -> str:
    """Who changes: the account and the name of its key."""
    key = caller()
    return f"{key.account}/{key.name}"
