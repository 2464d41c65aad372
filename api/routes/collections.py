"""Collections of models, and the search over models and collections."""

from typing import Any

from flask import Blueprint, Response, request

from api.auth import needs
from api.catalogue import model_entry_object, recipe_model_object
from api.contract import describe
from api.json_response import json_response
from api.model_search import MOST_CHARACTERS, find_models
from api.pages import limit_query, page_object
from api.schemas.cards import CollectionEntry, CollectionObject, Found
from api.schemas.form import Page
from shared.errors import InvalidInput, NotFound
from shared.models.recipes import RECIPES

routes = Blueprint("collections", __name__)

_RECIPES = {
    "slug": "recipes",
    "name": "Recipes",
    "description": "What comes with the service and can be trained into models of your own.",
}


@routes.get("/v1/collections")
@needs("read")
@describe({200: Page[CollectionEntry]})
def list_collections() -> Response:
    """The collections: one, of what comes with the service."""
    return json_response(page_object([_RECIPES]))


@routes.get("/v1/collections/<slug>")
@needs("read")
@describe({200: CollectionObject})
def get_collection(slug: str) -> Response:
    """One collection with its models."""
    if slug != _RECIPES["slug"]:
        raise NotFound(f"There is no collection {slug[:64]}; GET /v1/collections lists them.")
    return json_response({**_RECIPES, "models": [recipe_model_object(recipe) for recipe in RECIPES.values()]})


@routes.get("/v1/search")
@needs("read")
@describe({200: Found}, query=("query", "limit"), required=("query",))
def search() -> Response:
    """The models and collections that have every word of the query."""
    text = request.args.get("query")
    if not text or not text.strip():
        raise InvalidInput("query is required: the words to look for.", "query", "required")
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"query may have {MOST_CHARACTERS} characters.", "query", "length")
    found: dict[str, Any] = {
        "query": text,
        "models": [
            {"model": model_entry_object(match.entry), "metadata": {"score": match.score}}
            for match in find_models(text)[: limit_query()]
        ],
        "collections": [],
        "pages": [],
    }
    words = " ".join(_RECIPES.values()).casefold()
    if all(word in words for word in text.casefold().split()):
        found["collections"].append({**_RECIPES, "models": [recipe.model for recipe in RECIPES.values()]})
    return json_response(found)
