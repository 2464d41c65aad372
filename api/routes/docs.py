"""The interface, for programs and for people; the pages need no other host, and no key until they show a model."""

import html
from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Response, send_from_directory

from api.auth import public
from api.contract import Media, describe
from api.json_response import BareResponse
from api.services import services
from shared.errors import NotFound
from shared.models.version import is_name

routes = Blueprint("docs", __name__)

_FOLDER = Path(__file__).parents[1] / "docs_assets"
_ASSETS = {
    "swagger-ui-bundle.js": "swagger-ui",
    "swagger-ui.css": "swagger-ui",
    "docs.js": ".",
    "docs.css": ".",
}
_HEADERS = {
    # Swagger UI draws its icons from data URLs; beyond that nothing but this origin.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ASSET_SECONDS = 3600


@routes.get("/docs")
@public
@describe({200: Media("text/html")})
def show_docs() -> Response:
    """Every route, to read and to try out."""
    return _page("Headrace API", "HTTP API", "")


@routes.get("/docs/models/<owner>/<name>")
@public
@describe({200: Media("text/html")}, errors=(404,))
def show_model_docs(owner: str, name: str) -> Response:
    """One model's own schema with snippets that run; the page asks the reader for a key before it shows anything."""
    if not is_name(owner) or not is_name(name):
        raise NotFound("A model is called owner/name in lower-case letters, digits, dots, dashes and underscores.")
    return _page(f"{owner}/{name} - Headrace", f"{owner}/{name}", f"{owner}/{name}")


@routes.get("/docs/assets/<asset>")
@public
@describe({200: Media("text/css, text/javascript")}, errors=(404,))
def get_docs_asset(asset: str) -> Response:
    """What the pages are made of."""
    folder = _ASSETS.get(asset)
    if folder is None:
        raise NotFound("The pages under /docs have no such part.")
    response = send_from_directory(_FOLDER / folder, asset, max_age=_ASSET_SECONDS)
    response.headers.update(_HEADERS)
    return response


def _page(title: str, heading: str, model: str) -> Response:
    page = (_FOLDER / "page.html").read_text()
    prefix = urlsplit(services().settings.http.public_url).path.rstrip("/")
    for name, value in (("title", title), ("heading", heading), ("model", model), ("prefix", prefix)):
        page = page.replace(f"{{{name}}}", html.escape(value))
    return BareResponse(page, headers={"Content-Type": "text/html; charset=utf-8", **_HEADERS})
