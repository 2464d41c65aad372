"""Looks at an HDF5 file before its numbers are read: where they lie, and how many it says there are.

HDF5 can point out of itself, to other files by links, external storage and virtual data sets, and can declare a data
set of any size in a few bytes.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py

from shared.errors import ImportRefused

_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, 32000})
"""Built-in filters and h5py's LZF; any other one would make the library look for a plugin to load."""

_NUMBERS = "biufcS"
_MOST_OBJECTS = 1_000_000
_MOST_DEPTH = 64
# Weights are stored unpacked as a rule, and trained numbers hardly pack; zeros do.
_MOST_EXPANSION = 100
_ALWAYS_FINE_BYTES = 64 * 2**20


def check_hdf5(file: BinaryIO, stored_bytes: int, max_unpacked_bytes: int) -> str | None:
    """Checks every object of an HDF5 file.

    Args:
        file: The file, readable at any place.
        stored_bytes: Its size.
        max_unpacked_bytes: How many bytes its data sets may declare together.

    Returns:
        The attribute ``model_config`` of its root, where the file is a whole model of the legacy form.

    Raises:
        ImportRefused: An object lies outside of the file, or declares more than it holds.
    """
    most = min(max_unpacked_bytes, max(_ALWAYS_FINE_BYTES, _MOST_EXPANSION * stored_bytes))
    try:
        with h5py.File(file, "r") as root:
            declared = sum(_declared_bytes(dataset) for dataset in _datasets(root))
            if declared > most:
                raise ImportRefused(f"the weights declare {declared} bytes, more than the file can hold")
            return _text(root.attrs.get("model_config"))
    except ImportRefused:
        raise
    except Exception as error:  # whatever the library makes of a damaged file
        raise ImportRefused(f"the file is not HDF5 that can be read ({error})") from error


def _datasets(root: Any) -> Iterator[Any]:
    waiting: list[tuple[Any, int]] = [(root, 0)]
    groups, count = set(), 0
    while waiting:
        group, depth = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in groups:
            continue
        groups.add(address)
        if depth > _MOST_DEPTH:
            raise ImportRefused("the groups of the weights lie too deep in each other")
        for name in group:
            count += 1
            if count > _MOST_OBJECTS:
                raise ImportRefused(f"the weights have more than {_MOST_OBJECTS} objects")
            child = _child(group, name)
            if isinstance(child, h5py.Group):
                waiting.append((child, depth + 1))
            else:
                yield child


def _child(group: Any, name: str) -> Any:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise ImportRefused(f"the weights link to another file ({link.filename[:200]!r})")
    if not isinstance(link, h5py.HardLink):
        raise ImportRefused(f"the weights have a link that is no part of a model ({name[:200]!r})")
    child = group.get(name)
    if not isinstance(child, h5py.Group | h5py.Dataset):
        raise ImportRefused(f"the weights have an object that is no part of a model ({name[:200]!r})")
    return child


def _declared_bytes(dataset: Any) -> int:
    name = dataset.name[:200]
    if dataset.external:
        raise ImportRefused(f"the weights {name!r} lie in another file ({str(dataset.external[0][0])[:200]!r})")
    if dataset.is_virtual:
        raise ImportRefused(f"the weights {name!r} are a virtual data set over other files")
    plan = dataset.id.get_create_plist()
    if any(plan.get_filter(position)[0] not in _FILTERS for position in range(plan.get_nfilters())):
        raise ImportRefused(f"the weights {name!r} are packed with a filter that is not built in")
    kind = dataset.dtype
    # Numbers that NumPy lacks, bfloat16 among them, are stored as opaque values of one or two bytes.
    plain = kind.kind in _NUMBERS and kind.hasobject is False
    if kind.fields is not None or not (plain or (kind.kind == "V" and kind.itemsize <= 2)):
        raise ImportRefused(f"the weights {name!r} are no numbers")
    if dataset.shape is None:
        raise ImportRefused(f"the weights {name!r} have no shape")
    size = kind.itemsize
    for length in dataset.shape:
        size *= length
    return int(size)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None
