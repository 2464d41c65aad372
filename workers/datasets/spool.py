"""Holds the examples of an upload on disk until it is known which split each belongs to.

What stays in memory is less than a hundred bytes for an example. Pixels are kept as they are while all images are
small and of one size, and as PNG files from the first one on that differs.
"""

import hashlib
import io
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import DatasetRefused
from workers.images import open_image

Pixels = NDArray[np.uint8]

MOST_RAW_PIXELS = 65_536
"""Images of more pixels are kept as PNG files even where all have one size."""

NO_SPLIT = -1
"""The split of an example whose upload gave none."""

_MOST_PIXELS = 1 << 40  # our own PNG files have been measured before


class Spool:
    """Examples in the order of their arrival, in one channel while all of them are grey, else in three.

    Args:
        folder: A folder of this machine, removed by the caller.
        max_bytes: How much may lie there.
        max_examples: How many examples are accepted.
    """

    def __init__(self, folder: Path, max_bytes: int, max_examples: int) -> None:
        self._file = (folder / "spool").open("w+b")
        self._max_bytes, self._max_examples = max_bytes, max_examples
        self._end = 0
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._shapes = array("I")
        self._is_raw = array("B")
        self._common: tuple[int, int] | None = None
        self.is_uniform = True
        self.channels = 1
        self.labels = array("i")
        self.splits = array("b")
        self.digests = bytearray()

    def __len__(self) -> int:
        """Examples so far."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels where all images share them."""
        if self._common is None or not self.is_uniform:
            return None
        return (*self._common, self.channels)

    @property
    def is_encoded(self) -> bool:
        """Whether the examples are better kept as PNG files."""
        return not self.is_uniform or self._common is None or self._common[0] * self._common[1] > MOST_RAW_PIXELS

    def add(self, pixels: Pixels, label: int, split: int = NO_SPLIT) -> None:
        """Takes one image of height, width, channels.

        Raises:
            DatasetRefused: The upload is larger than it may be.
        """
        height, width, channels = pixels.shape
        if self._common is None:
            self._common = (height, width)
        self.is_uniform = self.is_uniform and self._common == (height, width)
        self.channels = max(self.channels, channels)
        raw = pixels.tobytes()
        self.digests += hashlib.sha256(f"{height}x{width}x{channels};".encode() + raw).digest()
        record = encode_png(pixels) if self.is_encoded else raw
        if self._end + len(record) > self._max_bytes:
            raise DatasetRefused(f"the images need more than the {self._max_bytes} bytes accepted")
        if len(self) >= self._max_examples:
            raise DatasetRefused(f"the upload holds more than the {self._max_examples} images accepted")
        self._file.write(record)
        self._offsets.append(self._end)
        self._lengths.append(len(record))
        self._shapes.extend((height, width, channels))
        self._is_raw.append(not self.is_encoded)
        self._end += len(record)
        self.labels.append(label)
        self.splits.append(split)

    def pixels(self, index: int) -> Pixels:
        """An image in the channels that all images have."""
        record = self._record(index)
        if not self._is_raw[index]:
            return open_image(record, max_pixels=_MOST_PIXELS, channels=self.channels)
        height, width, channels = self._shapes[3 * index : 3 * index + 3]
        pixels = np.frombuffer(record, np.uint8).reshape(height, width, channels)
        return np.repeat(pixels, 3, axis=2) if channels < self.channels else pixels

    def png(self, index: int) -> bytes:
        """An image as a PNG file, in the channels that all images have."""
        if not self._is_raw[index] and self._shapes[3 * index + 2] == self.channels:
            return self._record(index)
        return encode_png(self.pixels(index))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _record(self, index: int) -> bytes:
        self._file.seek(self._offsets[index])
        return self._file.read(self._lengths[index])


def encode_png(pixels: Pixels) -> bytes:
    """An image as a PNG file, packed for speed."""
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
