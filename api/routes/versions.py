"""Versions of a model: list, read, push, reset and delete them."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response

from api.auth import caller, needs
from api.catalogue import recipe_version_object, version_object
from api.contract import Media, describe
from api.headers import read_job_headers
from api.json_response import json_response, no_content
from api.pages import cut, page_object
from api.parameters import JOB_HEADERS, PAGED
from api.routes.models import refuse_recipe
from api.schemas.creations import ModelFile
from api.schemas.form import Page
from api.schemas.jobs import JobObject
from api.schemas.models import VersionObject
from api.services import services
from api.upload_jobs import create_upload_job
from api.uploads import received
from api.versions import version_of
from shared.errors import Forbidden, InvalidInput, NotFound, version_gone
from shared.jobs.job import JobKind
from shared.models.recipes import find_recipe
from shared.models.registry import check_name
from shared.models.version import RESERVED_OWNER, is_name

routes = Blueprint("versions", __name__)

_FIELDS = tuple(name for name in ModelFile.model_fields if name != "file")
_MOST_LABELS = 100_000


@routes.get("/v1/models/<owner>/<name>/versions")
@needs("read")
@describe({200: Page[VersionObject]}, query=PAGED)
def list_versions(owner: str, name: str) -> Response:
    """The versions of a model, newest first."""
    recipe = find_recipe(owner, name)
    if recipe is not None:
        return json_response(page_object([recipe_version_object(recipe)]))
    registry = services().registry
    registry.get_model(owner, name)
    page, following, previous = cut(registry.versions(owner, name), lambda version: (version.created_at, version.id))
    return json_response(page_object([version_object(version) for version in page], following, previous))


@routes.get("/v1/models/<owner>/<name>/versions/<version_id>")
@needs("read")
@describe({200: VersionObject})
def get_version(owner: str, name: str, version_id: str) -> Response:
    """One version, with everything its manifest says."""
    recipe = find_recipe(owner, name)
    if recipe is not None:
        if version_id != recipe.version_id:
            raise NotFound(f"{owner}/{name} has no version {version_id[:64]}.")
        return json_response(recipe_version_object(recipe))
    version = version_of(owner, name, version_id)
    return json_response({**version_object(version), "unloadable": services().registry.is_unloadable(version.id)})


@routes.post("/v1/models/<owner>/<name>/versions")
@needs("models:write")
@describe({201: JobObject}, media=(Media("multipart/form-data", ModelFile),), headers=JOB_HEADERS)
def push_version(owner: str, name: str) -> Response:
    """Takes a model file and answers with the import job that makes a version of it."""
    found = services()
    headers = read_job_headers(found.settings)
    if owner == RESERVED_OWNER:
        raise Forbidden(f"The owner {RESERVED_OWNER} is reserved for what comes with the service; take another.")
    if not is_name(owner) or not is_name(name):
        raise NotFound("A model is called owner/name in lower-case letters, digits, dots, dashes and underscores.")
    with received(found.settings, found.settings.imports.max_upload_bytes, _FIELDS) as upload:
        options = _options(upload.fields)
        return create_upload_job(
            JobKind.IMPORT,
            upload,
            headers,
            caller(),
            model=f"{owner}/{name}",
            details={"owner": owner, "name": name, **options},
            shown=options,
        )


@routes.delete("/v1/models/<owner>/<name>/versions/<version_id>")
@needs("models:write")
@describe({204: None}, errors=(409,))
def delete_version(owner: str, name: str, version_id: str) -> Response:
    """Deletes a version that no alias points to; what waits for it fails at once."""
    refuse_recipe(owner, name)
    found = services()
    found.registry.delete_version(owner, name, version_id)
    found.queue.fail_version(version_id, version_gone())
    return no_content()


@routes.post("/v1/models/<owner>/<name>/versions/<version_id>/reset")
@needs("models:write")
@describe({200: VersionObject})
def reset_version(owner: str, name: str, version_id: str) -> Response:
    """Lets a version be loaded again that failed to load too often."""
    refuse_recipe(owner, name)
    version = version_of(owner, name, version_id)
    services().registry.reset_loads(version.id)
    return json_response({**version_object(version), "unloadable": None})


def _options(fields: Mapping[str, str]) -> dict[str, Any]:
    """What an import is told beside the file, parsed; only what was given."""
    options: dict[str, Any] = {}
    if fields.get("labels"):
        options["labels"] = _labels(fields["labels"])
    if fields.get("scale"):
        options["scale"] = _fraction(fields["scale"])
    for name in ("mean", "std"):
        if fields.get(name):
            options[name] = [_number(part, name) for part in fields[name].split(",")]
    if any(value <= 0 for value in options.get("std", ())):
        raise InvalidInput("std must be greater than 0 for every channel.", "std", "range")
    iterator = fields.get("iterator", "false")
    if iterator not in ("true", "false"):
        raise InvalidInput("iterator must be true or false.", "iterator", "enum")
    if iterator == "true":
        options["iterator"] = True
    alias = fields.get("alias")
    if alias:
        check_name(alias, "alias")
        options["alias"] = alias
    return options


def _labels(text: str) -> list[str]:
    labels: Any = [label.strip() for label in text.split(",")]
    if text.lstrip().startswith("["):
        try:
            labels = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"labels is not JSON: {error}.", "labels", "json") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise InvalidInput("labels must be texts: a JSON list, or separated by commas.", "labels")
    if len(labels) > _MOST_LABELS or len(set(labels)) != len(labels):
        raise InvalidInput(f"labels must all differ, and be at most {_MOST_LABELS}.", "labels", "range")
    return labels


def _fraction(text: str) -> float:
    over, slash, under = text.partition("/")
    scale = _number(over, "scale") / (_number(under, "scale") or float("nan")) if slash else _number(text, "scale")
    if not scale > 0:
        raise InvalidInput("scale must be a number greater than 0, or a fraction like 1/255.", "scale", "range")
    return scale


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
        json.dumps(number, allow_nan=False)
    except ValueError:
        raise InvalidInput(f"{name} must be numbers, for example 1/255 for scale or 0.5,0.5,0.5.", name) from None
    return number
