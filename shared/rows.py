"""Reads the value of one input as rows, without NumPy and without Pillow.

Admission and workers read through the same functions, so both agree on what a row is: a value of the spec's rank is
one, a value of one rank more or a list of images or texts is many. No text made here repeats a value, which may be a
secret.
"""

import binascii
import math
import sys
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import Any

from shared.models.signature import TensorKind, TensorSpec

#: Least and greatest value of each whole-number dtype.
INTEGER_RANGES: Mapping[str, tuple[int, int]] = {
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}
#: Greatest finite value of each floating dtype.
FLOAT_LIMITS: Mapping[str, float] = {
    "float16": 65504.0,
    "float32": (2 - 2**-23) * 2.0**127,
    "float64": sys.float_info.max,
}

_WORDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}


class Mismatch(Exception):
    """Raised when a value does not fit its spec; its text is a sentence whose subject, the input's name, is missing."""


def rows_of(spec: TensorSpec, value: Any) -> tuple[Sequence[Any], bool]:
    """The rows of one input's value, and whether it was given as many; the rows themselves are not checked yet.

    Raises:
        Mismatch: The value is neither one row nor many.
    """
    is_text = is_plain_text(spec)
    if is_text or spec.kind is TensorKind.IMAGE:
        if isinstance(value, str):
            return [value], False
        if isinstance(value, list) and value and isinstance(value[0], str):
            if set(map(type, value)) != {str}:
                raise Mismatch("must hold nothing but strings, since its first item is one")
            return value, True
    if is_text:
        raise Mismatch("must be a string or a list of at least one string")
    depth = _depth(value)
    if depth == spec.rank:
        return [value], False
    if depth == spec.rank + 1:
        return _as_list(value), True
    if spec.kind is TensorKind.IMAGE:
        raise Mismatch("must be an image as URL, data URL or base64, or a list of them")
    raise Mismatch(f"must have {spec.rank} axes for one row or {spec.rank + 1} for many, but has {depth}")


def check_rows(spec: TensorSpec, rows: Sequence[Any], places: Container[str] = ()) -> None:
    """Checks all rows of one input; of an image file only that its base64 is sound.

    Args:
        spec: The input.
        rows: Its rows.
        places: Texts that stand for files of the artifact store.

    Raises:
        Mismatch: A row does not fit; says which where there are several.
    """
    if is_plain_text(spec):
        return
    if spec.is_fixed and not isinstance(rows[0], str):
        try:
            flat_rows(spec, rows)
            return
        except Mismatch:
            if len(rows) == 1:
                raise
    for number, row in enumerate(rows, 1):
        try:
            if isinstance(row, str) and spec.kind is TensorKind.IMAGE:
                if row not in places:
                    file_bytes(row)
            else:
                flat_rows(spec, [row])
        except Mismatch as mismatch:
            raise Mismatch(str(mismatch) if len(rows) == 1 else f"(row {number} of {len(rows)}) {mismatch}") from None


def is_plain_text(spec: TensorSpec) -> bool:
    """Whether a row of this input is one string."""
    return spec.kind is TensorKind.TEXT and spec.shape in ((), (1,))


def flat_rows(spec: TensorSpec, rows: Sequence[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """The checked leaves of rows of equal shape, in order, and the shape of one row.

    Raises:
        Mismatch: The nesting, the sizes, the types or the ranges do not fit.
    """
    # Axis by axis instead of item by item: a picture of numbers costs a few passes in C, not a recursion a pixel.
    leaves: list[Any] = list(rows)
    shape = []
    for size in spec.shape:
        kinds = set(map(type, leaves))
        if dict in kinds:
            leaves = [_as_list(item) if type(item) is dict else item for item in leaves]
            kinds = set(map(type, leaves))
        if kinds != {list}:
            other = _WORDS.get((kinds - {list}).pop(), "null")
            raise Mismatch(f"must have {spec.rank} axes everywhere, but {other} is where a list should be")
        lengths = set(map(len, leaves))
        length = lengths.pop()
        if lengths:
            raise Mismatch("is ragged: lists beside each other must have the same length")
        if length != size and (size is not None or length == 0):
            raise Mismatch(
                f"must have the shape {_named(spec)}, but a list of {length} is where {size or 'some'} belong"
            )
        shape.append(length)
        leaves = list(chain.from_iterable(leaves))
    _check_leaves(spec, leaves)
    return leaves, tuple(shape)


def file_bytes(text: str) -> bytes:
    """The bytes of a data URL or of plain base64; the media type of a data URL is not believed, hence not read.

    Raises:
        Mismatch: It is no strict base64.
    """
    if text[:5].lower() == "data:":
        media, comma, text = text.partition(",")
        if not comma or not media.lower().endswith(";base64"):
            raise Mismatch("is a data URL without base64: it must look like data:image/png;base64,…")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        try:  # line breaks, as the base64 command makes them, are the one departure that is allowed
            data = binascii.a2b_base64("".join(text.split()), strict_mode=True)
        except ValueError:
            raise Mismatch("must be a URL, a data URL or base64, and is none of these") from None
    if not data:
        raise Mismatch("is an empty file")
    return data


def _check_leaves(spec: TensorSpec, leaves: Sequence[Any]) -> None:
    for kind in set(map(type, leaves)) - _leaf_types(spec.dtype):
        raise Mismatch(f"must hold values of type {spec.dtype}, not {_WORDS.get(kind, 'null')}")
    if spec.dtype in ("bool", "string"):
        return
    try:
        finite = all(map(math.isfinite, leaves))
    except OverflowError:
        finite = False
    if not finite:
        raise Mismatch("must hold finite numbers only")
    low, high = value_range(spec)
    if min(leaves) < low or max(leaves) > high:
        raise Mismatch(f"must hold numbers from {low} to {high}")


def value_range(spec: TensorSpec) -> tuple[float, float]:
    """Least and greatest number that a value may hold; 0 to 255 in an image, whatever its dtype."""
    limit = FLOAT_LIMITS.get(spec.dtype, 0.0)
    low, high = INTEGER_RANGES.get(spec.dtype, (-limit, limit))
    return (max(low, 0), min(high, 255)) if spec.kind is TensorKind.IMAGE else (low, high)


def _leaf_types(dtype: str) -> set[type]:
    if dtype in INTEGER_RANGES:
        return {int}
    if dtype in FLOAT_LIMITS:
        return {int, float}
    if dtype in ("bool", "string"):
        return {bool} if dtype == "bool" else {str}
    raise Mismatch(f"has the type {dtype}, which JSON cannot carry")


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, (list, dict)):
        depth += 1
        items = _as_list(value)
        if not items:
            raise Mismatch("must not be empty")
        value = items[0]
    return depth


def _as_list(value: Any) -> list[Any]:
    # A typed array of JavaScript becomes {"0": …, "1": …} in JSON.
    if isinstance(value, list):
        return value
    try:
        return [value[str(index)] for index in range(len(value))]
    except KeyError:
        raise Mismatch("must be lists of values; an object is read only with the keys 0, 1, 2, …") from None


def _named(spec: TensorSpec) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in spec.shape)}]"
