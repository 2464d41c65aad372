"""Aliases: which version serves under which name, who moved it there and when; move it, and move it back."""

from typing import Any

from flask import Blueprint, Response

from api.auth import caller, needs
from api.catalogue import alias_object, move_object
from api.contract import describe
from api.json_body import read_as
from api.json_response import json_response
from api.pages import page_object
from api.routes.models import refuse_recipe
from api.schemas.aliases import AliasObject, AliasState, NewTarget
from api.schemas.form import Page
from api.services import services
from api.versions import named_version
from shared.errors import InvalidInput, NotFound
from shared.models.aliases import AliasMove
from shared.models.recipes import find_recipe
from shared.models.registry import check_name

routes = Blueprint("aliases", __name__)


@routes.get("/v1/models/<owner>/<name>/aliases")
@needs("read")
@describe({200: Page[AliasObject]})
def list_aliases(owner: str, name: str) -> Response:
    """The aliases of a model."""
    if find_recipe(owner, name) is not None:
        return json_response(page_object([]))
    registry = services().registry
    registry.get_model(owner, name)
    moves: dict[str, list[AliasMove]] = {}
    for move in registry.alias_history(owner, name):
        moves.setdefault(move.alias, []).append(move)
    return json_response(
        page_object([alias_object(alias, moves[alias]) for alias in sorted(moves) if moves[alias][0].version])
    )


@routes.get("/v1/models/<owner>/<name>/aliases/<alias>")
@needs("read")
@describe({200: AliasState})
def get_alias(owner: str, name: str, alias: str) -> Response:
    """An alias with its history and the move that waits for workers to be ready."""
    state = _state(owner, name, alias)
    if state["version"] is None and state["pending"] is None:
        raise NotFound(f"{owner}/{name} has no alias {alias[:64]}; PUT makes it.")
    return json_response(state)


@routes.put("/v1/models/<owner>/<name>/aliases/<alias>")
@needs("models:write")
@describe({200: AliasState, 202: AliasState}, body=NewTarget, errors=(409,))
def put_alias(owner: str, name: str, alias: str) -> Response:
    """Points an alias to a version as soon as the living workers have it ready: 200 done, 202 under way."""
    refuse_recipe(owner, name)
    services().registry.get_model(owner, name)
    check_name(alias, "alias")
    told, _ = read_as(NewTarget)
    version = named_version(told.version)
    if version.model != f"{owner}/{name}":
        raise InvalidInput(f"The version belongs to {version.model}, not to {owner}/{name}.", "version", "unknown")
    found = services()
    pools = found.deployments.pools_of(version.model, alias)
    outcome = found.promotions.request(owner, name, alias, version.id, _by(), told.reason, pools)
    return json_response(_state(owner, name, alias), 200 if outcome == "flipped" else 202)


@routes.post("/v1/models/<owner>/<name>/aliases/<alias>/rollback")
@needs("models:write")
@describe({200: AliasState, 202: AliasState}, errors=(409,))
def roll_back(owner: str, name: str, alias: str) -> Response:
    """Points an alias back to the version that it pointed to before."""
    refuse_recipe(owner, name)
    found = services()
    found.registry.get_model(owner, name)
    pools = found.deployments.pools_of(f"{owner}/{name}", alias)
    outcome = found.promotions.rollback(owner, name, alias, _by(), pools=pools)
    return json_response(_state(owner, name, alias), 200 if outcome == "flipped" else 202)


def _state(owner: str, name: str, alias: str) -> dict[str, Any]:
    found = services()
    found.registry.get_model(owner, name)
    moves = found.registry.alias_history(owner, name, alias)
    return {
        **alias_object(alias, moves),
        "history": [move_object(move) for move in moves],
        "pending": found.promotions.state(owner, name, alias),
    }


def _by() -> str:
    """Who moves: the account and the name of its key."""
    key = caller()
    return f"{key.account}/{key.name}"
