"""Turns the input of one prediction into arrays of the signature's dtypes and shapes.

Each job is decoded by itself, so that a bad one fails alone. The pixels that one take decodes ahead never hold more
than ``batching.max_decoded_bytes``: images beyond a job's share of that are decoded only when their call is made.
"""

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from shared.artifacts import REFERENCE
from shared.errors import InputError, InvalidInput
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.rows import Mismatch, file_bytes, flat_rows, is_plain_text, rows_of
from shared.settings import Settings
from shared.tensors import read_options
from workers.images import FORMATS, open_image

Row = Mapping[str, NDArray[Any]]
"""One row of every input by name. An image is uint8 also where the model takes floats; the batch converts."""

ReadFile = Callable[[str], bytes]
"""Reads what stands behind a text that names a file of the artifact store."""


def _no_files(reference: str) -> bytes:
    raise InputError(f"a file is named that is not there: {reference}", "E1005")


@dataclass(frozen=True, slots=True)
class DecodedJob:
    """The rows of one job, in order, and how its answers are wanted."""

    rows: Sequence[Row | Callable[[], Row]]
    """Row by row; a callable decodes its row when called and raises what ``decode`` does."""
    is_many: bool = False
    """Whether the answer is a list of rows, as the input was, or as the version always answers."""
    top_k: int | None = None
    threshold: float | None = None


def decode(
    signature: Signature,
    value: bytes | Mapping[str, Any],
    settings: Settings,
    until: float = math.inf,
    read: ReadFile = _no_files,
) -> DecodedJob:
    """Decodes the input of one job.

    Args:
        signature: What the version takes.
        value: The input, parsed or still JSON.
        settings: Give the limits of pixels, rows and bytes.
        until: When to stop decoding ahead, by the steady clock; rows that are left decode when their call is made.
        read: Reads the bytes that stand behind a text of ours in the input, ``artifact:files/{id}/content``.

    Raises:
        InputError: E1001 no image, E1002 too large, E1003 truncated, E1005 a file that is gone, E1004 anything else
            that does not fit; names the row where the job has several.
        StoreAway: The artifact store does not answer.
    """
    parsed = _parsed(value)
    try:
        options = read_options(signature, parsed)
    except InvalidInput as error:
        raise InputError(error.detail) from error
    columns, is_many, count = {}, signature.iterates, 0
    for spec in signature.inputs:
        rows, several = _rows(spec, parsed)
        if count and len(rows) != count:
            raise InputError("the inputs have different numbers of rows")
        columns[spec.name], is_many, count = rows, is_many or several, len(rows)
    if count > settings.inference.max_job_rows:
        raise InputError(f"the job has {count} rows, more than the {settings.inference.max_job_rows} accepted", "E1002")

    share = settings.batching.max_decoded_bytes * min(1.0, count / settings.batching.max_batch_rows)
    taken, is_late = 0, False
    decoded: list[Row | Callable[[], Row]] = []
    for index in range(count):
        values: Mapping[str, Any] = {name: rows[index] for name, rows in columns.items()}
        is_late = is_late or time.monotonic() > until
        if not is_late:
            whole = _with_files(signature, values, index, count, read)
            if taken + _image_bytes(signature, whole, settings.inference.max_pixels) <= share:
                row = _decode_row(signature, whole, index, count, settings, read)
                taken += sum(array.nbytes for array in row.values())
                decoded.append(row)
                continue
            # Files of the store are neither held until their call nor read one after another only to be measured.
            is_late = whole is not values
        decoded.append(partial(_decode_row, signature, values, index, count, settings, read))
    return DecodedJob(decoded, is_many, options.top_k, options.threshold)


def row_prefix(index: int, count: int) -> str:
    """How an error names its row: nothing where a job has only one."""
    return f"row {index + 1} of {count}: " if count > 1 else ""


def row_bytes(signature: Signature, shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes of one row in a batch, all inputs together, in the dtypes that the model takes."""
    total = 0
    for spec, shape in zip(signature.inputs, shapes, strict=True):
        size = 1
        for axis in shape:
            size *= axis
        total += size * array_dtype(spec).itemsize
    return total


def array_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """The dtype of arrays for an input; strings are objects."""
    return np.dtype(object) if spec.dtype == "string" else np.dtype(spec.dtype)


def _parsed(value: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(value, bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InputError("the input is not JSON") from error
    if not isinstance(value, Mapping):
        raise InputError("the input is not a JSON object")
    return value


def _rows(spec: TensorSpec, value: Mapping[str, Any]) -> tuple[Sequence[Any], bool]:
    if value.get(spec.name) is None:
        raise InputError(f"{spec.name} is missing")
    try:
        return rows_of(spec, value[spec.name])
    except Mismatch as mismatch:
        raise InputError(f"{spec.name} {mismatch}") from mismatch


def _with_files(
    signature: Signature, values: Mapping[str, Any], index: int, count: int, read: ReadFile
) -> Mapping[str, Any]:
    """The values of a row with bytes where images name files of the artifact store; a text that looks so is a text."""
    named = [spec.name for spec in signature.inputs if spec.kind is TensorKind.IMAGE and _is_file(values[spec.name])]
    if not named:
        return values
    try:
        return {**values, **{name: read(values[name]) for name in named}}
    except InputError as error:
        raise InputError(row_prefix(index, count) + error.message, error.code) from error


def _is_file(value: object) -> bool:
    return type(value) is str and value.startswith(REFERENCE)


def _decode_row(
    signature: Signature, values: Mapping[str, Any], index: int, count: int, settings: Settings, read: ReadFile
) -> Row:
    values = _with_files(signature, values, index, count, read)
    try:
        row = {spec.name: _array(spec, values[spec.name], settings) for spec in signature.inputs}
        size = row_bytes(signature, [array.shape for array in row.values()])
        if size > settings.batching.max_decoded_bytes:
            limit = settings.batching.max_decoded_bytes
            raise InputError(f"the row takes {size} bytes when decoded, more than the {limit} accepted", "E1002")
        return row
    except InputError as error:
        if count == 1:
            raise
        raise InputError(row_prefix(index, count) + error.message, error.code) from error


def _array(spec: TensorSpec, value: Any, settings: Settings) -> NDArray[Any]:
    try:
        if spec.kind is TensorKind.IMAGE and isinstance(value, str | bytes):
            return _image(spec, _file_bytes(value), settings.inference.max_pixels)
        if is_plain_text(spec):
            return np.array(value if spec.shape == () else [value], dtype=object)
        leaves, shape = flat_rows(spec, [value])
        return np.array(leaves, dtype=array_dtype(spec)).reshape(shape)
    except Mismatch as mismatch:
        raise InputError(f"{spec.name} {mismatch}") from mismatch


def _file_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else file_bytes(value)


def _image(spec: TensorSpec, data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    if spec.rank != 3:
        raise InputError(f"{spec.name} takes images of {spec.rank} axes, which no image file gives")
    pixels = open_image(data, max_pixels=max_pixels, channels=spec.shape[2])
    height, width = spec.shape[0] or pixels.shape[0], spec.shape[1] or pixels.shape[1]
    if pixels.shape[:2] == (height, width):
        return pixels
    # Pillow resizes what has alpha premultiplied, so that invisible colours do not bleed into visible ones.
    is_grey = pixels.shape[2] == 1
    image = Image.fromarray(pixels[:, :, 0] if is_grey else pixels)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return resized[:, :, np.newaxis] if is_grey else resized


def _image_bytes(signature: Signature, values: Mapping[str, Any], max_pixels: int) -> int:
    """Bytes that the image files of one row will have as pixels; what decoding will refuse anyway counts nothing."""
    total = 0
    for spec in signature.inputs:
        value = values[spec.name]
        if spec.kind is not TensorKind.IMAGE or not isinstance(value, str | bytes):
            continue
        channels = spec.shape[-1] or 4
        if spec.is_fixed:
            total += (spec.shape[0] or 1) * (spec.shape[1] or 1) * channels
            continue
        try:
            with Image.open(io.BytesIO(_file_bytes(value)), formats=FORMATS) as image:
                pixels = image.width * image.height
                total += pixels * channels if pixels <= max_pixels else 0
        except Exception:
            continue
    return total
