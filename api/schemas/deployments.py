"""The forms of deployments, and of what they run on."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from api.schemas.form import ReplyForm, RequestForm
from api.schemas.models import ModelReference, Moment, Name, VersionReference

Instances = Annotated[int, Field(ge=0, le=10_000)]
Pool = Annotated[str, Field(min_length=1, max_length=64)]


class NewDeployment(RequestForm):
    """A deployment; its owner is the account of the key."""

    name: Name
    """Also the name of the model's alias that it serves."""
    model: ModelReference
    """The model, ``owner/name``."""
    version: VersionReference
    """What it serves first: an id of the model's, or ``owner/name`` for what is in production."""
    hardware: Pool
    """The pool of workers that takes its jobs, as ``GET /v1/hardware`` lists them."""
    min_instances: Instances = 0
    """Kept and shown for whoever scales the workers."""
    max_instances: Instances = 1
    """Kept and shown for whoever scales the workers."""


class DeploymentChanges(RequestForm):
    """What is to change; the rest stays."""

    version: VersionReference | None = None
    """What it serves as soon as the workers of its pool have it ready."""
    hardware: Pool | None = None
    min_instances: Instances | None = None
    max_instances: Instances | None = None


class DeploymentAccount(ReplyForm):
    """Who made a release."""

    type: str
    username: str
    name: str


class Configuration(ReplyForm):
    """Where a release runs."""

    hardware: str
    min_instances: int
    max_instances: int


class ReleaseObject(ReplyForm):
    """What a deployment serves now."""

    number: int
    """Moves of the alias and changes of the configuration so far."""
    model: str
    version: str
    created_at: Moment
    created_by: DeploymentAccount
    configuration: Configuration


class DeploymentObject(ReplyForm):
    """A deployment."""

    path_names: ClassVar[Mapping[str, str]] = {"owner": "owner", "name": "name"}

    owner: str
    name: str
    current_release: ReleaseObject | None


class Hardware(ReplyForm):
    """A pool of workers."""

    sku: str
    """The name of the pool."""
    name: str
