"""Reads an npz of image and label arrays row by row, so that an array of any size needs little memory.

    x, y  or  images, labels                      one pair
    x_train, y_train, x_test, y_test              given splits, also x_val or x_validation; train_images, … too
    label_names  or  class_names                  optionally what the numbers in y mean

Nothing is ever unpickled: arrays of objects are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import DatasetRefused, InputError
from shared.settings import Settings
from workers.datasets.archive import Archive, Member
from workers.datasets.labels import checked_labels
from workers.datasets.splits import TEST, TRAIN, VALIDATION
from workers.datasets.spool import NO_SPLIT, Spool
from workers.progress import Stage

PAIRS = (("x", "y"), ("images", "labels"))
"""What image and label arrays may be called."""

SUFFIXES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
"""Ends, or beginnings, of the names of a split's arrays."""

LABEL_NAMES = ("label_names", "class_names", "classes", "names")
"""What the array with the labels' names may be called."""

_CHUNK_BYTES = 4 << 20
_MOST_LABEL_BYTES = 1 << 30
_EXPECTED = "name them x and y, images and labels, or x_train, y_train, x_test and y_test"


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize


def read_arrays(archive: Archive, spool: Spool, settings: Settings, stage: Stage) -> tuple[str, ...]:
    """Takes every image of an npz into the spool.

    Args:
        archive: The upload.
        spool: Where the examples go.
        settings: The process's settings.
        stage: Told of every example.

    Returns:
        The labels, in order.

    Raises:
        DatasetRefused: The arrays are not images and labels.
    """
    arrays = {member.name.removesuffix(".npy"): member for member in archive.members if member.name.endswith(".npy")}
    pairs = _pairs(arrays)
    taken = {name for images, labels, _ in pairs for name in (images, labels)}
    names = next((name for name in (*LABEL_NAMES, "labels") if name in arrays and name not in taken), None)
    given = {labels: _labels(archive, arrays[labels], labels) for _, labels, _ in pairs}
    labels, indices = _indexed(given, None if names is None else _labels(archive, arrays[names], names))
    stage.expect(sum(map(len, indices.values())))
    for images, of_labels, split in pairs:
        rows = _images(
            archive, arrays[images], images, settings.inference.max_pixels, len(indices[of_labels]), of_labels
        )
        for pixels, label in zip(rows, indices[of_labels].tolist(), strict=True):
            stage.step()
            spool.add(pixels, label, split)
    return labels


def _pairs(arrays: dict[str, Member]) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    for images, labels in PAIRS:
        if {images, labels} <= arrays.keys():
            found.append((images, labels, NO_SPLIT))
        for end, split in SUFFIXES.items():
            for form in ("{0}_{1}", "{1}_{0}"):
                pair = (form.format(images, end), form.format(labels, end))
                if set(pair) <= arrays.keys():
                    found.append((*pair, split))
    splits = [split for _, _, split in found]
    if not found:
        shown = ", ".join(sorted(arrays)[:10])
        raise DatasetRefused(f"the npz holds no pair of image and label arrays among {shown or 'nothing'}; {_EXPECTED}")
    if len(set(splits)) < len(splits) or (NO_SPLIT in splits and len(splits) > 1):
        raise DatasetRefused(f"the npz holds several arrays for the same images; {_EXPECTED}")
    if NO_SPLIT not in splits and TRAIN not in splits:
        raise DatasetRefused(f"the npz holds no images for training; {_EXPECTED}")
    return found


def _header(stream: IO[bytes], name: str) -> _Header:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"form {version} of npy files")
    except Exception as error:  # whatever a parser makes of damaged bytes
        raise DatasetRefused(f"the array {name} is damaged or of an unknown form; save it with numpy.savez") from error
    if any(side < 0 for side in shape):
        raise DatasetRefused(f"the array {name} has the shape {list(shape)}")
    if dtype.hasobject:
        raise DatasetRefused(f"the array {name} holds Python objects; save numbers or text, nothing is unpickled")
    if is_fortran and len(shape) > 1:
        raise DatasetRefused(f"the array {name} lies in Fortran order; save numpy.ascontiguousarray({name})")
    return _Header(shape, dtype)


def _labels(archive: Archive, member: Member, name: str) -> NDArray[Any]:
    try:
        with archive.open(member) as stream:
            header = _header(stream, name)
            shape = header.shape
            if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
                raise DatasetRefused(
                    f"the array {name} has the shape {list(shape)}; give one label an image, "
                    f"of one-hot rows numpy.argmax({name}, axis=1)"
                )
            size = shape[0] * header.dtype.itemsize
            if size > _MOST_LABEL_BYTES:
                raise DatasetRefused(f"the array {name} takes {size} bytes, more than labels need")
            data = stream.read(size)
    except InputError as error:
        raise DatasetRefused(f"the array {name}: {error.message}") from error
    if len(data) < size:
        raise DatasetRefused(f"the array {name} is cut off")
    values = np.frombuffer(data, header.dtype)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetRefused(f"the array {name} holds bytes that are no UTF-8 text") from error
    if values.dtype.kind not in "iubU":
        raise DatasetRefused(f"the array {name} holds {values.dtype} values; labels are whole numbers or text")
    return values if values.dtype.kind == "U" else values.astype(np.int64)


def _indexed(
    given: dict[str, NDArray[Any]], names: NDArray[Any] | None
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Turns what the label arrays hold into labels and indices of labels."""
    kinds = {values.dtype.kind for values in given.values()}
    if len(kinds) > 1:
        raise DatasetRefused("the label arrays hold numbers here and text there; use one of them")
    if names is not None and kinds == {"i"}:
        labels = tuple(str(name) for name in names.tolist())
        for array, values in given.items():
            if len(values) and not 0 <= values.min() <= values.max() < len(labels):
                raise DatasetRefused(
                    f"the array {array} has numbers for which there is no name among the {len(labels)}"
                )
        indices = {array: values for array, values in given.items()}
    else:
        distinct = np.unique(np.concatenate(list(given.values())))
        labels = tuple(str(value) for value in distinct.tolist())
        indices = {array: np.searchsorted(distinct, values) for array, values in given.items()}
    return checked_labels(labels), indices


def _images(
    archive: Archive, member: Member, name: str, max_pixels: int, count: int, labels: str
) -> Iterator[NDArray[np.uint8]]:
    largest = 0.0
    try:
        with archive.open(member) as stream:
            header = _header(stream, name)
            _check_images(header, name, max_pixels)
            if header.shape[0] != count:
                raise DatasetRefused(f"{name} has {header.shape[0]} images and {labels} {count} labels")
            rows = max(1, _CHUNK_BYTES // max(1, header.row_bytes))
            for start in range(0, count, rows):
                wanted = min(rows, count - start) * header.row_bytes
                data = stream.read(wanted)
                if len(data) < wanted:
                    raise DatasetRefused(f"the array {name} is cut off")
                values = np.frombuffer(data, header.dtype).reshape(-1, *header.shape[1:])
                pixels = _bytes(values, name)
                largest = max(largest, float(pixels.max(initial=0)))
                yield from pixels if pixels.ndim == 4 else pixels[..., np.newaxis]
    except InputError as error:
        raise DatasetRefused(f"the array {name}: {error.message}") from error
    if header.dtype.kind == "f" and largest <= 1:
        raise DatasetRefused(_scale_sentence(name))


def _check_images(header: _Header, name: str, max_pixels: int) -> None:
    shape = list(header.shape)
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise DatasetRefused(f"{name} has the shape {shape}, channels first; save {name}.transpose(0, 2, 3, 1)")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DatasetRefused(
            f"{name} has the shape {shape}; images are [number, height, width] or [number, height, width, 1 or 3]"
        )
    if header.dtype.kind not in "uif":
        raise DatasetRefused(f"{name} holds {header.dtype} values; images are numbers from 0 to 255, best as uint8")
    if not 0 < shape[1] * shape[2] <= max_pixels:
        raise DatasetRefused(
            f"{name} has images of {shape[1]} x {shape[2]} pixels; from 1 to {max_pixels} are accepted"
        )


def _bytes(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if not (values.min() >= 0 and values.max() <= 255) or (values.dtype.kind == "f" and (values % 1 != 0).any()):
        raise DatasetRefused(_scale_sentence(name))
    return values.astype(np.uint8)


def _scale_sentence(name: str) -> str:
    return (
        f"{name} holds values that are not whole numbers from 0 to 255; of values from 0 to 1 save "
        f'({name} * 255).round().astype("uint8")'
    )
