"""Turns the bytes of one foreign image file into pixels, or into an error of that file alone.

Serving and the preparation of data sets both decode here, so a model is asked about exactly the pixels it would have
been trained on.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""The accepted formats, by Pillow's names; a parser that is not listed never sees foreign bytes."""

_NAMED = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Our own check is stricter and names the limit; Pillow's would warn, or raise before we know the size.
Image.MAX_IMAGE_PIXELS = None


def open_image(data: bytes, *, max_pixels: int, channels: int | None) -> NDArray[np.uint8]:
    """Decodes one image file.

    EXIF orientation is applied, transparency is laid on white (and kept for four channels), 16-bit values keep their
    high byte, palettes and CMYK become colours, and of an animation the first frame is taken.

    Args:
        data: The whole file.
        max_pixels: Larger images are refused from their header alone.
        channels: 1 grey, 3 RGB, 4 RGBA; ``None`` for the image's own, 1 or 3.

    Returns:
        An array of height, width, channels.

    Raises:
        InputError: E1001 not an accepted image, E1002 too many pixels, E1003 truncated or damaged, E1004 when the
            number of channels is none that an image can have.
    """
    if channels is not None and channels not in _MODES:
        raise InputError(f"an image has 1, 3 or 4 channels, the model asks for {channels}")
    if not data:
        raise InputError("the image is empty", code="E1001")
    image = _opened(data)
    try:
        width, height = image.size
        if width < 1 or height < 1:
            raise InputError("the image has no pixels", code="E1003")
        if width * height > max_pixels:
            raise InputError(
                f"the image has {width} x {height} pixels, more than the {max_pixels} accepted", code="E1002"
            )
        return _pixels(image, channels)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("the image needs more memory than there is", code="E1002") from error
    except Exception as error:  # whatever a decoder makes of damaged bytes
        raise InputError("the image is truncated or damaged", code="E1003") from error
    finally:
        image.close()


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError as error:
        raise InputError("the image needs more memory than there is", code="E1002") from error
    except Exception as error:
        known = data.startswith(_MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        if known:
            raise InputError("the image is truncated or damaged", code="E1003") from error
        raise InputError(f"the data is not a {_NAMED} image", code="E1001") from error


def _pixels(image: Image.Image, channels: int | None) -> NDArray[np.uint8]:
    image.load()
    orientation = _orientation(image)
    if channels is None:
        channels = 1 if image.mode in _GREY_MODES else 3
    if image.mode in _DEEP_MODES:
        image = _shallow(image)
    if channels != 4 and image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        image = Image.alpha_composite(white, colours).convert("RGB")
    mode = _MODES[channels]
    if image.mode != mode:
        image = image.convert(mode)
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    pixels = np.array(image, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _shallow(image: Image.Image) -> Image.Image:
    # Pillow clips 16-bit grey to 255 instead of scaling; the high byte is what it takes of 16-bit colour.
    values = np.asarray(image).astype(np.int64)
    transparent: Any = image.info.get("transparency")
    if isinstance(transparent, int):
        values = np.where(values == transparent, 65535, values)
    return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to refuse good pixels
        return 1
