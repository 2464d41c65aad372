"""Receives a file of an account in each of the multipart shapes that stock clients send.

    replicate 1 (Python)    content; metadata as JSON text
    replicate (JavaScript)  content; metadata as a file part called "blob"
    replicate 2 (Python)    content; filename and type as fields; metadata as fields metadata[key]

The file goes to disk and is digested while it comes. Its type is read from its bytes; its name never becomes a path.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import orjson
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from api.slots import receiving
from api.uploads import UploadFile, UploadRequest, upload_folder
from shared.content_types import sniff_file
from shared.errors import InvalidInput, TooLarge
from shared.settings import Settings

MAX_NAME_BYTES = 255
MAX_METADATA_BYTES = 65_536

_PARTS = 128
_PIECE_BYTES = 1 << 20
_SPARE_BYTES = 1 << 20  # fields and boundaries beside the file
_FIELDS = frozenset({"metadata", "filename", "type"})
_METADATA_FIELD = re.compile(r"metadata((?:\[[^\[\]]*\])+)")
_METADATA_KEY = re.compile(r"\[([^\[\]]*)\]")
_NO_NAME = "upload"


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """One received file."""

    content: BinaryIO
    """Open while the request is answered."""
    name: str
    content_type: str
    size: int
    sha256: str
    metadata: Mapping[str, Any]


@contextlib.contextmanager
def received_file(settings: Settings) -> Iterator[IncomingFile]:
    """Reads the multipart body of the request under way; the file disappears when the block ends.

    Raises:
        InvalidInput: The part ``content`` is missing or empty, a field is unknown, or the name or metadata cannot
            be taken.
        TooLarge: The file is too large; noticed while it comes.
    """
    incoming = cast(UploadRequest, request)
    most = settings.files.max_upload_bytes
    if incoming.mimetype != "multipart/form-data":
        raise InvalidInput("Send the file as multipart/form-data, in a part called content.", "Content-Type", "enum")
    refusal = f"Files must be less than {most >> 20}MB in size" if most >> 20 else f"Files may have {most} bytes"
    declared = incoming.content_length
    if declared is not None and declared > most + _SPARE_BYTES:
        _pass_over(incoming, most)
        raise TooLarge(refusal)
    incoming.max_content_length = most + _SPARE_BYTES
    incoming.max_form_memory_size = _SPARE_BYTES
    incoming.max_form_parts = _PARTS
    incoming.upload_max_bytes = most
    incoming.upload_refusal = refusal
    incoming.upload_folder = upload_folder(settings)
    try:
        try:
            received = _checked(incoming, refusal)
        except TooLarge:
            _pass_over(incoming, most)
            raise
        yield received
    finally:
        for file in incoming.upload_files:
            file.close()


def _pass_over(incoming: UploadRequest, most: int) -> None:
    """Reads on for a while and keeps nothing: many clients see no answer before they have sent all of a body."""
    if incoming.headers.get("Expect"):  # such a client waits to be asked for the body
        return
    stream = incoming.environ["wsgi.input"]
    with receiving():
        for _ in range(most // _PIECE_BYTES):
            if not stream.read(_PIECE_BYTES):
                return


def _checked(incoming: UploadRequest, refusal: str) -> IncomingFile:
    with receiving():
        try:
            form, files = incoming.form, incoming.files
        except RequestEntityTooLarge as error:
            stored = sum(file.size for file in incoming.upload_files)
            raise TooLarge(
                refusal
                if stored >= incoming.upload_max_bytes
                else f"The upload has more than {_PARTS} parts, or fields of more than {_SPARE_BYTES} bytes."
            ) from error
    for name in (*form, *(name for name in files if name != "content")):
        if name not in _FIELDS and not _METADATA_FIELD.fullmatch(name):
            raise InvalidInput(
                f"{name[:64]} is no part of a file; it has content, metadata, filename and type.",
                name[:64],
                "additional_property_not_allowed",
            )
    if len(files.getlist("content")) != 1:
        raise InvalidInput(
            "Send exactly one file, in a part called content that has a filename.", "content", "required"
        )
    part = files["content"]
    stored_file = cast(UploadFile, part.stream)
    if stored_file.size == 0:
        raise InvalidInput("The file is empty.", "content", "required")
    named = form.get("filename") or part.filename or ""
    kind = sniff_file(part.stream)
    metadata = _metadata(form.to_dict(flat=False), _text_of(files.get("metadata")))
    return IncomingFile(stored_file.content, _name(named), kind, stored_file.size, stored_file.sha256, metadata)


def _name(given: str) -> str:
    """The last part of what may have been a path, without what cannot be shown."""
    name = "".join(character for character in re.split(r"[/\\]", given)[-1] if character.isprintable()).strip()
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidInput(f"The filename may have {MAX_NAME_BYTES} bytes.", "filename", "too_long")
    return name if name.strip(".") else _NO_NAME


def _text_of(part: Any) -> bytes | None:
    if part is None:
        return None
    part.stream.seek(0)
    return cast(bytes, part.stream.read(MAX_METADATA_BYTES + 1))


def _metadata(form: Mapping[str, list[str]], part: bytes | None) -> Mapping[str, Any]:
    flat = {name: values for name, values in form.items() if name.startswith("metadata[")}
    texts = [text.encode() for text in form.get("metadata", [])] + ([part] if part is not None else [])
    if len(texts) + bool(flat) > 1:
        raise InvalidInput("metadata came more than once.", "metadata", "duplicate")
    if flat:
        found: Any = _nested(flat)
    elif texts and texts[0].strip():
        if len(texts[0]) > MAX_METADATA_BYTES:
            raise InvalidInput(f"metadata may have {MAX_METADATA_BYTES} bytes.", "metadata", "too_long")
        try:
            found = orjson.loads(texts[0])
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"metadata is not JSON: {error}.", "metadata", "json") from error
    else:
        return {}
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput("metadata must be a JSON object.", "metadata")
    if len(orjson.dumps(found)) > MAX_METADATA_BYTES:
        raise InvalidInput(f"metadata may have {MAX_METADATA_BYTES} bytes.", "metadata", "too_long")
    return found


def _nested(fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """``metadata[a][b]=c`` as ``{"a": {"b": "c"}}``; ``metadata[a][]`` is a list."""
    whole: dict[str, Any] = {}
    for name, values in fields.items():
        keys = _METADATA_KEY.findall(name)
        is_list = len(keys) > 1 and not keys[-1]
        place = whole
        for key in keys[: -2 if is_list else -1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise InvalidInput(f"{name[:64]} contradicts another field.", name[:64], "duplicate")
        place[keys[-2] if is_list else keys[-1]] = values if is_list else values[-1]
    return whole
