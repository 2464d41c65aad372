"""Models: list, make, read and delete them."""

import re
from typing import Any

from flask import Blueprint, Response

from api.auth import needs
from api.bodies import read_json
from api.catalogue import model_object, recipe_model_object
from api.json_response import json_response, no_content
from api.pages import check_query, choice_query, cut, page_object
from api.services import services
from shared.errors import Forbidden, InvalidInput, JobError, ModelLoadError
from shared.models.model import Model
from shared.models.recipes import RECIPES, Recipe, find_recipe
from shared.models.version import ModelVersion

routes = Blueprint("models", __name__)

_TEXTS = ("description", "github_url", "paper_url", "license_url", "cover_image_url")
_MOST_CHARACTERS = 10_000
_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_VISIBILITIES = ("private", "public")
# ``hardware`` is required by stock clients and means nothing here: pools are the machines' own.
_KEYS = frozenset({"owner", "name", "visibility", "hardware", *_TEXTS})
_SORTS = ("model_created_at", "latest_version_created_at")


@routes.get("/v1/models")
@needs("read")
def list_models() -> Response:
    """All models and recipes, by the age of the newest version unless told."""
    check_query(("cursor", "limit", "sort_by", "sort_direction"))
    sort = choice_query("sort_by", _SORTS) or "latest_version_created_at"
    direction = choice_query("sort_direction", ("desc", "asc")) or "desc"
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
def create_model() -> Response:
    """Makes a model without versions."""
    check_query()
    keys, _ = read_json()
    for name, value in keys.items():
        if name not in _KEYS:
            raise InvalidInput(f"{name[:64]} is not a key of a model.", name[:64], "additional_property_not_allowed")
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{name} must be a text.", name)
        if value is not None and len(value) > _MOST_CHARACTERS:
            raise InvalidInput(f"{name} has {len(value)} characters and may have {_MOST_CHARACTERS}.", name, "length")
        if value and name.endswith("_url") and not _ADDRESS.fullmatch(value):
            raise InvalidInput(f"{name} must be an address that begins with https:// or http://.", name, "format")
    for name in ("owner", "name"):
        if not keys.get(name):
            raise InvalidInput(f"{name} is required.", name, "required")
    visibility = keys.get("visibility") or _VISIBILITIES[0]
    if visibility not in _VISIBILITIES:
        raise InvalidInput(f"visibility must be one of {', '.join(_VISIBILITIES)}.", "visibility", "enum")
    texts: dict[str, Any] = {name: keys[name] for name in _TEXTS if keys.get(name)}
    model = services().registry.create_model(keys["owner"], keys["name"], visibility=visibility, **texts)
    answer = model_object(model, None)
    return json_response(answer, 201, {"Location": answer["url"]})


@routes.get("/v1/models/<owner>/<name>")
@needs("read")
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
def delete_model(owner: str, name: str) -> Response:
    """Deletes a model with all versions; what waits for them fails. While an alias serves, only with ``force``."""
    refuse_recipe(owner, name)
    check_query(("force",))
    found = services()
    is_forced = choice_query("force", ("true", "false")) == "true"
    for version_id in found.registry.delete_model(owner, name, unless_aliased=not is_forced):
        found.queue.fail_version(version_id, version_gone())
    return no_content()


def refuse_recipe(owner: str, name: str) -> None:
    """Refuses to change what comes with the service.

    Raises:
        Forbidden: The model is a recipe.
    """
    if find_recipe(owner, name) is not None:
        raise Forbidden(f"{owner}/{name} comes with the service and cannot be changed.")


def version_gone() -> JobError:
    """How jobs end whose version was deleted."""
    return ModelLoadError("the version of this job was deleted", "E1202")
