"""Makes one row for each input of a model, so that snippets run as they are printed; without NumPy, without Pillow."""

import base64
import json
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.rows import INTEGER_RANGES, is_plain_text

_ANY_SIZE = 1
_ANY_SIDE = 64  # pixels of an image that may have any size
_GREY = 127
_MOST_PRINTED = 64  # more numbers than that are made by an expression
_PNG_COLORS = {1: 0, 3: 2, 4: 6}


@dataclass(frozen=True, slots=True)
class Sample:
    """A value, or a constant in so many axes that printing it would hide the rest."""

    leaf: Any
    shape: tuple[int, ...] = ()

    @property
    def is_printed(self) -> bool:
        """Whether it is short enough to stand there whole."""
        return math.prod(self.shape) <= _MOST_PRINTED

    @property
    def value(self) -> Any:
        """The value itself."""
        value = self.leaf
        for size in reversed(self.shape):
            value = [value] * size
        return value

    @property
    def python(self) -> str:
        """An expression in Python."""
        if self.is_printed:
            return json.dumps(self.value) if isinstance(self.leaf, str) else repr(self.value)
        text = f"[{self.leaf!r}] * {self.shape[-1]}"
        for size in reversed(self.shape[:-1]):
            text = f"[{text} for _ in range({size})]"
        return text

    @property
    def javascript(self) -> str:
        """An expression in JavaScript."""
        if self.is_printed:
            return json.dumps(self.value)
        text = f"Array({self.shape[-1]}).fill({json.dumps(self.leaf)})"
        for size in reversed(self.shape[:-1]):
            text = f"Array.from({{ length: {size} }}, () => {text})"
        return text


def sample_inputs(signature: Signature) -> dict[str, Sample]:
    """One row for each input."""
    return {spec.name: _sample(spec) for spec in signature.inputs}


def _sample(spec: TensorSpec) -> Sample:
    if spec.kind is TensorKind.IMAGE:
        height, width = (size or _ANY_SIDE for size in spec.shape[:2])
        return Sample("data:image/png;base64," + base64.b64encode(_png(height, width, spec.shape[-1] or 3)).decode())
    if is_plain_text(spec):
        return Sample("It works as it should.")
    return Sample(_leaf(spec.dtype), tuple(size or _ANY_SIZE for size in spec.shape))


def _leaf(dtype: str) -> Any:
    if dtype in INTEGER_RANGES:
        return 0
    return {"bool": False, "string": "a"}.get(dtype, 0.5)


def _png(height: int, width: int, channels: int) -> bytes:
    """A grey image as a file."""
    color = _PNG_COLORS.get(channels, 2)
    row = b"\0" + bytes([_GREY]) * (width * {0: 1, 2: 3, 6: 4}[color])
    squeeze = zlib.compressobj(9)
    pixels = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
