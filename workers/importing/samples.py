"""Makes inputs to try a network with: images that look a little like photographs, short texts, numbers.

They come out the same every time, so that an import that runs twice makes the same version.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models.signature import TensorKind, TensorSpec

COUNT = 16
"""Rows of one set of samples."""

TEXTS = (
    "Hello, how are you today?",
    "Congratulations! You have won a free prize, call now to claim it.",
    "The film was wonderful from the first minute to the last.",
    "I have never been so bored in my life.",
    "No",
    "Shares fell sharply after the company cut its forecast for the year.",
    "The team won three to one in the last match of the season.",
    "Please send me the report by Friday.",
    "Scientists have found water on a distant planet.",
    "URGENT: your account will be closed, click the link below!",
    "What time does the train leave?",
    "The food was cold and the service was slow, we will not come back.",
    "A new phone with a better camera was shown today.",
    "See you at home later, love you.",
    "The government announced new rules for schools.",
    "Best purchase I have made in years; works perfectly and looks great too.",
)


def samples(specs: Sequence[TensorSpec], size: int, ids_below: int) -> dict[str, NDArray[Any]]:
    """A set of rows for every input of a network.

    Args:
        specs: The inputs.
        size: Length of axes of any size.
        ids_below: Whole numbers stay below it, as token ids have to.
    """
    numbers = np.random.default_rng(0)
    return {spec.name: _rows(spec, size, ids_below, numbers) for spec in specs}


def with_length(rows: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec], length: int) -> dict[str, NDArray[Any]]:
    """The same rows, cut or filled with zeros to a length along axes of any size."""
    return {spec.name: _resized(rows[spec.name], spec, length) for spec in specs}


def one_row(rows: Mapping[str, NDArray[Any]], index: int) -> dict[str, NDArray[Any]]:
    """One row of a set, as a set of one."""
    return {name: values[index : index + 1] for name, values in rows.items()}


def tiled(rows: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    """A set of any number of rows, made by going through the rows again and again."""
    return {name: values[np.arange(count) % len(values)] for name, values in rows.items()}


def _rows(spec: TensorSpec, size: int, ids_below: int, numbers: np.random.Generator) -> NDArray[Any]:
    shape = tuple(size if axis is None else axis for axis in spec.shape)
    if spec.kind is TensorKind.TEXT:
        texts = np.array(TEXTS[:COUNT], dtype=object).reshape(-1, *(1 for _ in shape))
        return np.broadcast_to(texts, (COUNT, *shape))
    if spec.kind is TensorKind.IMAGE:
        return _photos(shape, numbers).astype(spec.dtype)
    if spec.dtype == "bool":
        return numbers.integers(0, 2, (COUNT, *shape)).astype(bool)
    if np.dtype(spec.dtype).kind in "iu":
        # Zero is left out, since it often stands for padding.
        most = min(ids_below, int(np.iinfo(spec.dtype).max))
        return numbers.integers(min(1, most - 1), most, (COUNT, *shape)).astype(spec.dtype)
    return numbers.normal(size=(COUNT, *shape)).astype(spec.dtype)


def _photos(shape: tuple[int, ...], numbers: np.random.Generator) -> NDArray[Any]:
    """Large soft areas of colour, some texture, a few hard-edged shapes; dark, bright, plain and lively ones."""
    height, width, channels = shape
    images = np.empty((COUNT, height, width, channels))
    rows, columns = np.mgrid[0:height, 0:width]
    for image in images:
        image[:] = numbers.uniform(0, 255, channels)
        for cells, strength in ((2, 90.0), (4, 60.0), (8, 30.0), (16, 15.0)):
            image += _soft(numbers.normal(0, strength, (cells, cells, channels)), height, width)
        for _ in range(numbers.integers(1, 5)):
            middle, spread = numbers.uniform(0, 1, 2), numbers.uniform(0.05, 0.35, 2)
            inside = ((rows / height - middle[0]) / spread[0]) ** 2 + ((columns / width - middle[1]) / spread[1]) ** 2
            image[inside < 1] = numbers.uniform(0, 255, channels) + numbers.normal(0, 12, channels)
        image += numbers.normal(0, 6, image.shape)
    result: NDArray[Any] = images.clip(0, 255).round()
    return result


def _soft(grid: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Enlarges a grid with straight lines between its points."""
    for axis, length in ((0, height), (1, width)):
        at = np.linspace(0, grid.shape[axis] - 1, length)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        part = (at - low).reshape([-1 if position == axis else 1 for position in range(3)])
        grid = grid.take(low, axis) * (1 - part) + grid.take(high, axis) * part
    return grid


def _resized(values: NDArray[Any], spec: TensorSpec, length: int) -> NDArray[Any]:
    cut = values[(slice(None), *(slice(length) if axis is None else slice(None) for axis in spec.shape))]
    missing = [
        (0, 0),
        *((0, length - cut.shape[n + 1]) if axis is None else (0, 0) for n, axis in enumerate(spec.shape)),
    ]
    return np.pad(cut, missing)
