"""Who the caller is."""

from flask import Blueprint, Response

from api.auth import ANY_SCOPE, caller, needs
from api.contract import describe
from api.json_response import json_response
from api.schemas.service import AccountObject
from shared.jobs.view import moment

routes = Blueprint("account", __name__)


@routes.get("/v1/account")
@needs(ANY_SCOPE)
@describe({200: AccountObject})
def get_account() -> Response:
    """The account of the key, and what is kept of the key."""
    key = caller()
    return json_response(
        {
            "type": "organization",
            "username": key.account,
            "name": key.account,
            "key": {
                "id": key.id,
                "prefix": key.prefix,
                "name": key.name,
                "scopes": sorted(key.scopes),
                "created_at": moment(key.created_at),
                "expires_at": moment(key.expires_at),
            },
        }
    )
