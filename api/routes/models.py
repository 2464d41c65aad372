"""Models: list, make, read and delete them."""

from typing import Any

from flask import Blueprint, Response, request

from api.auth import needs
from api.catalogue import model_object, recipe_model_object
from api.contract import describe
from api.json_body import read_as
from api.json_response import json_response, no_content
from api.model_search import found_page
from api.pages import choice_query, cut, page_object
from api.parameters import DIRECTIONS, PAGED, SORTS
from api.schemas.form import Page
from api.schemas.models import ModelObject, NewModel
from api.services import services
from shared.errors import Forbidden, version_gone
from shared.models.model import Model
from shared.models.recipes import RECIPES, Recipe, find_recipe
from shared.models.version import ModelVersion

routes = Blueprint("models", __name__)

_TEXTS = ("description", "github_url", "paper_url", "license_url", "cover_image_url")


@routes.get("/v1/models")
@needs("read")
@describe({200: Page[ModelObject]}, query=(*PAGED, "sort_by", "sort_direction", "query"))
def list_models() -> Response:
    """All models and recipes, by the age of the newest version unless told."""
    if (text := request.args.get("query")) is not None:
        return json_response(found_page(text))
    sort = choice_query("sort_by", SORTS) or "latest_version_created_at"
    direction = choice_query("sort_direction", DIRECTIONS) or "desc"
    registry = services().registry
    listed: list[tuple[str, str, Recipe | Model, ModelVersion | None]] = [
        (recipe.created_at, recipe.model, recipe, None) for recipe in RECIPES.values()
    ]
    for model in registry.list_models():
        latest = next(iter(registry.versions(model.owner, model.name)), None)
        moment = latest.created_at if latest and sort == "latest_version_created_at" else model.created_at
        listed.append((moment, model.full_name, model, latest))
    page, following, previous = cut(listed, lambda entry: entry[:2], descending=direction == "desc")
    results = [
        recipe_model_object(entry) if isinstance(entry, Recipe) else model_object(entry, latest)
        for _, _, entry, latest in page
    ]
    return json_response(page_object(results, following, previous))


@routes.post("/v1/models")
@needs("models:write")
@describe({201: ModelObject}, body=NewModel, errors=(409,))
def create_model() -> Response:
    """Makes a model without versions."""
    told, _ = read_as(NewModel)
    texts: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(told, name))}
    visibility = told.visibility or "private"
    model = services().registry.create_model(told.owner, told.name, visibility=visibility, **texts)
    answer = model_object(model, None)
    return json_response(answer, 201, {"Location": answer["url"]})


@routes.get("/v1/models/<owner>/<name>")
@needs("read")
@describe({200: ModelObject})
def get_model(owner: str, name: str) -> Response:
    """One model."""
    recipe = find_recipe(owner, name)
    if recipe is not None:
        return json_response(recipe_model_object(recipe))
    registry = services().registry
    model = registry.get_model(owner, name)
    return json_response(model_object(model, next(iter(registry.versions(owner, name)), None)))


@routes.delete("/v1/models/<owner>/<name>")
@needs("models:write")
@describe({204: None}, query=("force",), errors=(409,))
def delete_model(owner: str, name: str) -> Response:
    """Deletes a model with all versions; what waits for them fails. While an alias serves, only with ``force``."""
    refuse_recipe(owner, name)
    found = services()
    is_forced = choice_query("force", ("true", "false")) == "true"
    for version_id in found.registry.delete_model(owner, name, unless_aliased=not is_forced):
        found.queue.fail_version(version_id, version_gone())
    found.deployments.drop(f"{owner}/{name}")
    found.jobs.drop_runs(f"{owner}/{name}")
    return no_content()


def refuse_recipe(owner: str, name: str) -> None:
    """Refuses to change what comes with the service.

    Raises:
        Forbidden: The model is a recipe.
    """
    if find_recipe(owner, name) is not None:
        raise Forbidden(f"{owner}/{name} comes with the service and cannot be changed.")
