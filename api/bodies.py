"""Reads the body of a create in each form that it may come in, and turns it into one: top-level keys and an input.

    JSON                    {"version": …, "input": {…}}
    multipart/form-data     the same keys as fields, ``input`` as JSON text, files as parts named after the inputs
    image/png, jpeg, webp   the one input of a model, its options in the query

What follows never needs to know which it was.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from api.schemas.creations import JobRequest
from api.slots import receiving
from api.text_files import text_of
from api.validation import check_form
from shared.errors import InvalidInput, TooLarge
from shared.models.signature import OPTION_NAMES, Signature, TensorKind

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
"""Content types of a body that is an image itself."""

# Names of options that stock clients leave in the body: releases of replicate-javascript forward what they do not use.
_SENT_ALONG = frozenset(
    {
        "block", "deployment", "fileEncodingStrategy", "file_encoding_strategy", "model", "prefer", "progress",
        "signal", "useFileOutput", "use_file_output", "wait",
    }
)  # fmt: skip
_SPARE_PARTS = 16  # fields beside the files of one row each
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_PLAIN = frozenset({"version", "input"})
_NUMBER = re.compile(r"-?(?:[0-9]{1,18}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,3})?")
_MIME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(slots=True)
class Body:
    """What a create was sent."""

    keys: dict[str, Any]
    files: Mapping[str, list[FileStorage]] = field(default_factory=dict)
    image: bytes | None = None
    raw: bytes | None = None
    """The JSON as it came."""

    def __iter__(self) -> Iterator[bytes]:
        """Everything that tells this request from another, in pieces."""
        if self.raw is not None:
            yield from request_pieces(self.raw)
            return
        yield from request_pieces(orjson.dumps(self.keys, option=orjson.OPT_SORT_KEYS))
        for name, files in sorted(self.files.items()):
            for file in files:
                file.stream.seek(0)
                yield name.encode()
                yield file.stream.read()
        yield self.image or b""


def request_pieces(content: bytes) -> tuple[bytes, ...]:
    """Path, query and content of the request under way, which tell it from another."""
    return request.path.encode(), request.query_string, content


def read_json() -> tuple[dict[str, Any], bytes]:
    """The JSON object of the body, whatever content type a client gave it.

    Raises:
        InvalidInput: The body is no JSON object.
    """
    raw = _whole()
    if not raw:
        raise InvalidInput("The body is empty; send a JSON object.", "body", "required")
    return parsed(raw), raw


def parsed(raw: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        InvalidInput: It is none.
    """
    try:
        keys = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error}.", "body", "json") from error
    if not isinstance(keys, dict):
        raise InvalidInput("The body must be a JSON object.", "body")
    return keys


def read_raw() -> bytes:
    """The body as it came, whatever it is.

    Raises:
        TooLarge: It is longer than bodies may be.
    """
    return _whole()


def read_body(max_rows: int) -> Body:
    """The body of a create in whatever form it came.

    Args:
        max_rows: Most rows of a job, so that a multipart body may have as many parts and some fields beside them.

    Raises:
        InvalidInput: It cannot be read, or its type is none that is taken here.
    """
    if request.environ.get("CONTENT_TYPE") == "application/json":  # nearly always; to take a type apart costs more
        keys, raw = read_json()
        return Body(keys, raw=raw)
    kind = request.mimetype
    if kind == "multipart/form-data":
        return _multipart(max_rows)
    if kind.startswith("image/"):
        if kind not in IMAGE_TYPES:
            raise InvalidInput(
                f"An image body must be one of {', '.join(IMAGE_TYPES)}, not {kind}.", "Content-Type", "enum"
            )
        image = _whole()
        if not image:
            raise InvalidInput("The body has no image.", "body", "required")
        return Body({}, image=image)
    keys, raw = read_json()
    return Body(keys, raw=raw)


def check_keys(keys: Mapping[str, Any], form: type[JobRequest], *, is_form: bool = False) -> None:
    """Checks the top-level keys of a create; version and input are checked by what reads them, which says more.

    Args:
        keys: The parsed body.
        form: The form that the view's ``describe`` names as ``body``.
        is_form: They are a form's fields, whose values are texts.

    Raises:
        InvalidInput: A key means nothing here, or has a value that it cannot have.
    """
    if keys.keys() <= _PLAIN:
        return
    for name in keys:
        if name not in form.model_fields and name not in _SENT_ALONG:
            shown = str(name)[:64]
            raise InvalidInput(
                f"{shown} is not a key of this request; a model's inputs go into input.",
                shown,
                "additional_property_not_allowed",
            )
    if not is_form:
        check_form(JobRequest, {name: value for name, value in keys.items() if name in JobRequest.model_fields})


def whole_input(body: Body, signature: Signature) -> Any:
    """The input with files and image put in as what the signature wants there.

    Raises:
        InvalidInput: A part is no input of the model, is given twice, or cannot come as a file.
    """
    if body.image is not None:
        return _from_image(body.image, signature)
    value = body.keys.get("input")
    if not body.files:
        return value
    if value is not None and not isinstance(value, dict):
        raise InvalidInput("input must be an object.", "input")
    whole = dict(value or {})
    for name, files in body.files.items():
        shown = name[:64]
        if name in whole:
            raise InvalidInput(f"{shown} came twice, in input and as a file.", f"input.{shown}", "duplicate")
        spec = signature.input(name)
        if spec is None:
            raise InvalidInput(
                f"The model has no input {shown!r}; it takes {', '.join(spec.name for spec in signature.inputs)}.",
                f"input.{shown}",
                "additional_property_not_allowed",
            )
        values = [_from_file(file, spec.kind, f"input.{name}") for file in files]
        whole[name] = values[0] if len(values) == 1 else values
    return whole


def _whole() -> bytes:
    """The body in one piece, read no further than it may be long.

    Raises:
        TooLarge: It is longer.
        InvalidInput: It is shorter than its length says.
    """
    limit, length = request.max_content_length, request.content_length
    if length is None:
        with receiving():
            data = request.get_data(cache=False)
        if limit is not None and len(data) >= limit:  # Werkzeug cuts off what comes after and says nothing
            raise _too_large(limit)
        return data
    if limit is not None and length > limit:
        raise _too_large(limit)
    if not length:
        return b""
    stream = request.environ["wsgi.input"]
    with receiving():
        data = stream.read(length)
        while len(data) < length:
            more = stream.read(length - len(data))
            if not more:
                raise InvalidInput("The body was cut off.", "body", "required")
            data += more
    return bytes(data)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes, which is the server's limit.")


def _multipart(max_rows: int) -> Body:
    max_parts = max_rows + _SPARE_PARTS
    limit = request.max_content_length
    request.max_form_memory_size = limit
    request.max_form_parts = max_parts
    with receiving():
        try:
            form, files = request.form, request.files
        except RequestEntityTooLarge as error:
            length = request.content_length
            if limit is not None and length is not None and length > limit:
                raise _too_large(limit) from error
            bytes_too = "" if length is not None or limit is None else f", or more than {limit} bytes"
            raise TooLarge(
                f"The multipart body has more than {max_parts} parts{bytes_too}: a job may have {max_rows} rows, so "
                "send several jobs."
            ) from error
    if not form and not files:
        raise InvalidInput("The multipart body has no parts, or was cut off.", "body", "required")
    keys: dict[str, Any] = {}
    for name, values in form.lists():
        if len(values) > 1:
            raise InvalidInput(f"{name[:64]} came more than once.", name[:64], "duplicate")
        keys[name] = values[0]
    if "input" in keys:
        try:
            keys["input"] = orjson.loads(keys["input"])
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"The field input is not JSON: {error}.", "input", "json") from error
    if "stream" in keys:
        keys["stream"] = _FLAGS.get(keys["stream"].lower(), keys["stream"])
    return Body(keys, files=dict(files.lists()))


def _from_image(image: bytes, signature: Signature) -> dict[str, Any]:
    if len(signature.inputs) != 1 or signature.inputs[0].kind is not TensorKind.IMAGE:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInput(f"Only a model of one image takes an image as body; this one takes {names}.", "body")
    value: dict[str, Any] = {signature.inputs[0].name: _data_url(image, request.mimetype)}
    for name in OPTION_NAMES & request.args.keys():
        text = request.args[name]
        value[name] = text if name == "priority" else _number(text, name)
    return value


def _from_file(file: FileStorage, kind: TensorKind, field_name: str) -> str:
    data = file.stream.read()
    if kind is TensorKind.IMAGE:
        return _data_url(data, file.mimetype)
    if kind is TensorKind.TEXT:
        return text_of(data, field_name)
    raise InvalidInput("This input takes numbers; put them into input as JSON instead of a file.", field_name)


def _data_url(data: bytes, kind: str) -> str:
    kind = kind if _MIME.fullmatch(kind) else "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _number(text: str, name: str) -> int | float:
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"{name} must be a number.", f"input.{name}")
    return int(text) if name == "top_k" and text.isdigit() else float(text)
