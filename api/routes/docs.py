"""The interface, for programs and for people."""

import importlib.metadata
from typing import Any

from flask import Blueprint, Response, current_app

from api.auth import public
from api.contract import describe
from api.json_response import json_response
from api.openapi import document
from api.services import services

routes = Blueprint("docs", __name__)

_DOCUMENT = "headrace.openapi"


@routes.get("/openapi.json")
@public
@describe({200: dict[str, Any]})
def get_openapi() -> Response:
    """This document."""
    kept = current_app.extensions
    if _DOCUMENT not in kept:
        kept[_DOCUMENT] = document(current_app, importlib.metadata.version("headrace"))
    return json_response({**kept[_DOCUMENT], "servers": [{"url": services().urls.base}]})
