"""The interface for programs: an OpenAPI document of the whole service, and one for each version of a model."""

import importlib.metadata
from typing import Any, cast

from flask import Blueprint, Response, current_app

from api.auth import needs, public
from api.contract import describe
from api.json_response import json_response
from api.model_document import empty_document, prediction_document, training_document
from api.openapi import document
from api.services import services
from api.versions import version_of
from shared.errors import NotFound
from shared.models.recipes import Recipe, find_recipe
from shared.models.version import ModelVersion

routes = Blueprint("openapi", __name__)

_DOCUMENT = "headrace.openapi"
_ANY_DATASET = "digits"  # what the demo makes


@routes.get("/openapi.json")
@public
@describe({200: dict[str, Any]})
def get_openapi() -> Response:
    """This document."""
    return json_response({**_document(), **_servers()})


@routes.get("/v1/models/<owner>/<name>/openapi.json")
@needs("read")
@describe({200: dict[str, Any]})
def get_model_openapi(owner: str, name: str) -> Response:
    """The document of a model's version in production, else of its newest one, or of a recipe.

    It has the model's own input and output, and snippets. Of a model without versions it has no paths.
    """
    recipe = find_recipe(owner, name)
    if recipe is not None:
        return json_response(_of_recipe(recipe))
    registry = services().registry
    registry.get_model(owner, name)
    production = registry.aliases(owner, name).get("production")
    if production is not None:
        return json_response(_of_version(registry.version(production), is_production=True))
    newest = next(iter(registry.versions(owner, name)), None)
    if newest is not None:
        return json_response(_of_version(newest, is_production=False))
    return json_response({**empty_document(_document(), f"{owner}/{name}"), **_servers()})


@routes.get("/v1/models/<owner>/<name>/versions/<version_id>/openapi.json")
@needs("read")
@describe({200: dict[str, Any]})
def get_version_openapi(owner: str, name: str, version_id: str) -> Response:
    """The document of one version."""
    recipe = find_recipe(owner, name)
    if recipe is None:
        return json_response(_of_version(version_of(owner, name, version_id), is_production=False))
    if version_id != recipe.version_id:
        raise NotFound(f"{owner}/{name} has no version {version_id[:64]}.")
    return json_response(_of_recipe(recipe))


def _document() -> dict[str, Any]:
    kept = current_app.extensions
    if _DOCUMENT not in kept:
        kept[_DOCUMENT] = document(current_app, importlib.metadata.version("headrace"))
    return cast(dict[str, Any], kept[_DOCUMENT])


def _of_version(version: ModelVersion, *, is_production: bool) -> dict[str, Any]:
    base = services().urls.base
    return {**prediction_document(_document(), version, base, is_production=is_production), **_servers()}


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    newest = max(services().datasets.list(), key=lambda dataset: dataset.created_at, default=None)
    dataset = (newest.name if newest else None) or _ANY_DATASET
    return {**training_document(_document(), recipe, services().urls.base, dataset), **_servers()}


def _servers() -> dict[str, Any]:
    return {"servers": [{"url": services().urls.base}]}
