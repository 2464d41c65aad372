"""Answers with a file of the artifact store, in such a form that a browser runs nothing of it.

Foreign bytes come from our own origin, so they are attachments, of the type that their bytes say, with a policy that
would sandbox them wherever they were shown after all.
"""

from urllib.parse import quote

from flask import Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import FileWrapper

from api.services import services
from shared.errors import NotFound, Unavailable

_BLOCK_BYTES = 1 << 18


def download(path: str, *, name: str, content_type: str, etag: str) -> Response:
    """The bytes at a path, or the range of them that the request asks for.

    Args:
        path: In the artifact store.
        name: What the file is to be called where it is saved.
        content_type: Its type.
        etag: Changes when the bytes do.

    Raises:
        NotFound: The bytes are gone.
        Unavailable: Too many clients are downloading.
    """
    found = services()
    try:
        size, file = found.artifacts.size(path), found.artifacts.open(path)
    except FileNotFoundError:
        raise NotFound("The file is no longer there.") from None
    if not found.slots.take_wait():
        file.close()
        raise Unavailable("As many clients as the server can hold are waiting or downloading; try again in a moment.")
    response = Response(FileWrapper(file, _BLOCK_BYTES), content_type=content_type)
    response.call_on_close(found.slots.give_wait)
    headers = response.headers
    headers["Content-Length"] = str(size)
    headers["Content-Disposition"] = _attachment(name)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    headers["Cache-Control"] = "private, no-store"
    response.set_etag(etag)
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    except HTTPException:
        response.close()
        raise
    return response


def _attachment(name: str) -> str:
    plain = "".join(character if character.isascii() and character not in '"\\' else "_" for character in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
