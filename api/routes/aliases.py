"""Aliases: which version serves under which name, who moved it there and when; move it, and move it back."""

from typing import Any

from flask import Blueprint, Response

from api.auth import caller, needs
from api.bodies import read_json
from api.catalogue import alias_object
from api.json_response import json_response
from api.pages import check_query, page_object
from api.routes.models import refuse_recipe
from api.services import services
from api.versions import named_version
from shared.errors import InvalidInput, NotFound
from shared.models.aliases import AliasMove
from shared.models.recipes import find_recipe
from shared.models.registry import check_name

routes = Blueprint("aliases", __name__)


@routes.get("/v1/models/<owner>/<name>/aliases")
@needs("read")
def list_aliases(owner: str, name: str) -> Response:
    """The aliases of a model."""
    check_query()
    if find_recipe(owner, name) is not None:
        return json_response(page_object([]))
    registry = services().registry
    registry.get_model(owner, name)
    moves: dict[str, list[AliasMove]] = {}
    for move in registry.alias_history(owner, name):
        moves.setdefault(move.alias, []).append(move)
    return json_response(page_object([alias_object(alias, moves[alias]) for alias in sorted(moves)]))


@routes.get("/v1/models/<owner>/<name>/aliases/<alias>")
@needs("read")
def get_alias(owner: str, name: str, alias: str) -> Response:
    """An alias with its history and the move that waits for workers to be ready."""
    state = _state(owner, name, alias)
    if state["version"] is None and state["pending"] is None:
        raise NotFound(f"{owner}/{name} has no alias {alias[:64]}; PUT makes it.")
    return json_response(state)


@routes.put("/v1/models/<owner>/<name>/aliases/<alias>")
@needs("models:write")
def put_alias(owner: str, name: str, alias: str) -> Response:
    """Points an alias to a version as soon as the living workers have it ready: 200 done, 202 under way."""
    refuse_recipe(owner, name)
    services().registry.get_model(owner, name)
    check_name(alias, "alias")
    check_query()
    keys, _ = read_json()
    for key, value in keys.items():
        if key not in ("version", "reason"):
            raise InvalidInput(f"{key[:64]} is not a key of an alias.", key[:64], "additional_property_not_allowed")
        if not isinstance(value, str):
            raise InvalidInput(f"{key} must be a text.", key)
    version = named_version(keys.get("version"))
    if version.model != f"{owner}/{name}":
        raise InvalidInput(f"The version belongs to {version.model}, not to {owner}/{name}.", "version", "unknown")
    outcome = services().promotions.request(owner, name, alias, version.id, _by(), keys.get("reason", "")[:1000])
    return json_response(_state(owner, name, alias), 200 if outcome == "flipped" else 202)


@routes.post("/v1/models/<owner>/<name>/aliases/<alias>/rollback")
@needs("models:write")
def roll_back(owner: str, name: str, alias: str) -> Response:
    """Points an alias back to the version that it pointed to before."""
    refuse_recipe(owner, name)
    services().registry.get_model(owner, name)
    outcome = services().promotions.rollback(owner, name, alias, _by())
    return json_response(_state(owner, name, alias), 200 if outcome == "flipped" else 202)


def _state(owner: str, name: str, alias: str) -> dict[str, Any]:
    found = services()
    found.registry.get_model(owner, name)
    moves = found.registry.alias_history(owner, name, alias)
    history = [{key: value for key, value in move.to_json().items() if key != "schema"} for move in moves]
    return {
        **alias_object(alias, moves),
        "history": history,
        "pending": found.promotions.state(owner, name, alias),
    }


def _by() -> str:
    """Who moves: the account and the name of its key."""
    key = caller()
    return f"{key.account}/{key.name}"
