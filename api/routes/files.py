"""Files: upload, list, read, download and delete them."""

from typing import Any

from flask import Blueprint, Response, request

from api.auth import caller, needs, public
from api.contract import Media, describe
from api.downloads import download
from api.file_uploads import received_file
from api.json_response import json_response, no_content
from api.pages import cut, page_object
from api.parameters import PAGED
from api.schemas.files import FileObject, FileParts
from api.schemas.form import Page
from api.services import services
from shared.errors import Forbidden
from shared.files import StoredFile
from shared.jobs.view import moment

routes = Blueprint("files", __name__)

_SIGNED = ("owner", "expiry", "signature")


@routes.post("/v1/files")
@needs("predictions:write")
@describe({201: FileObject}, media=(Media("multipart/form-data", FileParts),))
def upload_file() -> Response:
    """Takes a file, whose URL may then stand in an input."""
    found, key = services(), caller()
    found.files.check_room(key.account, 0)  # before the body is read, which may take long
    with received_file(found.settings) as file:
        stored = found.files.keep(
            file.content,
            account=key.account,
            key_id=key.id,
            name=file.name,
            content_type=file.content_type,
            size=file.size,
            sha256=file.sha256,
            metadata=file.metadata,
        )
    shown = _shown(stored)
    return json_response(shown, 201, {"Location": shown["urls"]["get"]})


@routes.get("/v1/files")
@needs("read")
@describe({200: Page[FileObject]}, query=PAGED)
def list_files() -> Response:
    """The caller's files, newest first."""
    files, account = services().files, caller().account
    page, following, previous = cut(files.ids(account), lambda file_id: (file_id,))
    return json_response(page_object([_shown(file) for file in files.read(account, page)], following, previous))


@routes.get("/v1/files/<file_id>")
@needs("read")
@describe({200: FileObject})
def get_file(file_id: str) -> Response:
    """One of the caller's files."""
    return json_response(_shown(services().files.get(caller().account, file_id)))


@routes.delete("/v1/files/<file_id>")
@needs("predictions:write")
@describe({204: None})
def delete_file(file_id: str) -> Response:
    """Deletes one of the caller's files."""
    services().files.delete(caller().account, file_id)
    return no_content()


@routes.get("/v1/files/<file_id>/download")
@public
@describe(
    {200: Media("application/octet-stream"), 206: Media("application/octet-stream"), 304: None},
    query=_SIGNED,
    errors=(403, 416),
)
def download_file(file_id: str) -> Response:
    """The bytes of a file, to whoever has a link that its owner was given."""
    found = services()
    owner, expiry, signature = (request.args.get(name, "") for name in _SIGNED)
    if not found.file_links.allows(owner, file_id, expiry, signature):
        raise Forbidden("The link is not signed by this server or its time is over; GET of the file has a fresh one.")
    file = found.files.get(owner, file_id)
    return download(file.path, name=file.name, content_type=file.content_type, etag=file.sha256)


def _shown(file: StoredFile) -> dict[str, Any]:
    found = services()
    base = found.urls.base
    return {
        "id": file.id,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "etag": file.sha256,
        "checksums": {"sha256": file.sha256},
        "metadata": file.metadata,
        "created_at": moment(file.created_at),
        "expires_at": moment(file.expires_at),
        "urls": {"get": f"{base}/v1/files/{file.id}", "download": base + found.file_links.path(file)},
    }
