"""How models and versions look on the wire: those of the registry, and the recipes beside them."""

from collections.abc import Sequence
from typing import Any

from api.services import services
from shared.models.aliases import AliasMove
from shared.models.model import Model
from shared.models.recipes import Recipe
from shared.models.version import ModelVersion
from shared.tensors import input_schema, output_schema

COG_VERSION = "headrace"
"""Stock clients want a text here and treat only versions below 0.3.9 in a special way, which this is not."""

_LINKS = ("github_url", "paper_url", "license_url", "weights_url", "cover_image_url")
_TRAINING_OUTPUT = {
    "title": "TrainingOutput",
    "type": "object",
    "properties": {
        "version": {"type": "string", "title": "Version"},
        "weights": {"type": "string", "title": "Weights"},
        "metrics": {"type": "object", "title": "Metrics"},
    },
    "required": ["version"],
}


def model_entry_object(entry: Model | Recipe) -> dict[str, Any]:
    """A model or a recipe, its newest version looked up."""
    if isinstance(entry, Recipe):
        return recipe_model_object(entry)
    return model_object(entry, next(iter(services().registry.versions(entry.owner, entry.name)), None))


def model_object(model: Model, latest: ModelVersion | None) -> dict[str, Any]:
    """A model with its newest version."""
    return {
        "url": services().urls(f"/v1/models/{model.full_name}"),
        "owner": model.owner,
        "name": model.name,
        "description": model.description or None,
        "visibility": model.visibility,
        **{link: getattr(model, link) or None for link in _LINKS},
        "run_count": services().jobs.runs(model.full_name),
        "default_example": example_object(model),
        "latest_version": None if latest is None else version_object(latest),
        "created_at": model.created_at,
        "aliases": services().registry.aliases(model.owner, model.name),
    }


def recipe_model_object(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the model that trainings name."""
    return {
        "url": services().urls(f"/v1/models/{recipe.model}"),
        "owner": recipe.owner,
        "name": recipe.name,
        "description": recipe.description,
        "visibility": "public",
        **dict.fromkeys(_LINKS),
        "run_count": services().jobs.runs(recipe.model),
        "default_example": None,
        "latest_version": recipe_version_object(recipe),
        "created_at": recipe.created_at,
        "aliases": {},
    }


def example_object(model: Model) -> dict[str, Any] | None:
    """The published copy of the prediction that is a model's example, its URLs made whole."""
    example = services().cards.example(model)
    if example is None:
        return None
    base = services().urls.base
    return {**example, "urls": {name: base + path for name, path in example["urls"].items()}}


def version_object(version: ModelVersion) -> dict[str, Any]:
    """A version: what stock clients read of it, and what its manifest says."""
    manifest = version.to_json()
    return {
        "id": version.id,
        "created_at": version.created_at,
        "cog_version": COG_VERSION,
        "openapi_schema": _openapi(
            version.model,
            Input=input_schema(version.signature),
            Output=output_schema(version.signature, version.labels),
        ),
        "model": version.model,
        **{
            name: value
            for name, value in manifest.items()
            if name not in ("id", "created_at", "owner", "name", "schema")
        },
    }


def recipe_version_object(recipe: Recipe) -> dict[str, Any]:
    """The one version of a recipe, with the form of a training's input."""
    nothing = {"type": "object", "properties": {}}
    return {
        "id": recipe.version_id,
        "created_at": recipe.created_at,
        "cog_version": COG_VERSION,
        "openapi_schema": _openapi(
            recipe.model,
            Input={"title": "Input", **nothing},
            Output={"title": "Output", **nothing},
            TrainingInput=recipe.training_schema,
            TrainingOutput=_TRAINING_OUTPUT,
        ),
        "model": recipe.model,
        "source": "recipe",
        "recipe": recipe.name,
        "network": list(recipe.network),
    }


def alias_object(alias: str, moves: Sequence[AliasMove]) -> dict[str, Any]:
    """An alias by its newest move; without a version where it was never moved, or was taken away."""
    if not moves:
        return {"alias": alias, "version": None, "sequence": None, "moved_at": None, "by": None, "reason": None}
    return move_object(moves[0])


def move_object(move: AliasMove) -> dict[str, Any]:
    """One move of an alias; without a version where it took the alias away."""
    form = {name: value for name, value in move.to_json().items() if name != "schema"}
    return {**form, "version": move.version or None}


def _openapi(title: str, **schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "openapi": "3.0.2",
        "info": {"title": title, "version": COG_VERSION},
        "paths": {},
        "components": {"schemas": schemas},
    }
