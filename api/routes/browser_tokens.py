"""Tokens for pages: short-lived, for the predictions of one model."""

from flask import Blueprint, Response

from api.auth import caller, needs, require
from api.contract import describe
from api.json_body import read_as
from api.json_response import json_response
from api.schemas.browser_tokens import BrowserToken, NewBrowserToken
from api.services import services
from api.versions import production
from shared.errors import InvalidInput
from shared.jobs.view import moment
from shared.models.version import is_name

routes = Blueprint("browser_tokens", __name__)


@routes.post("/v1/browser-tokens")
@needs("predictions:write")
@describe({201: BrowserToken}, body=NewBrowserToken, errors=(404,))
def create_browser_token() -> Response:
    """Makes a token that may make, read, stream and cancel its own predictions of one model, and nothing else."""
    require("read")
    wanted, _ = read_as(NewBrowserToken)
    owner, _, name = wanted.model.partition("/")
    if not is_name(owner) or not is_name(name):
        raise InvalidInput("model must be owner/name.", "model", "pattern")
    production(owner, name)
    found = services()
    most = found.settings.http.browser_token_seconds
    if not 1 <= wanted.expires_in <= most:
        raise InvalidInput(f"expires_in must be from 1 to {most} seconds.", "expires_in", "range")
    text, token = found.browser_tokens.create(caller(), wanted.model, wanted.expires_in)
    answer = {"token": text, "id": token.id, "model": wanted.model, "expires_at": moment(token.expires_at)}
    return json_response(answer, 201, {"Cache-Control": "no-store"})
