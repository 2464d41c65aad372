"""Reads the sample row that a version brings with it, to warm the version up with what it was made for."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models.version import WARMUP_FILE, ModelVersion
from workers.inference.decoding import array_dtype


def read_sample(version: ModelVersion, folder: Path, most_bytes: int) -> Mapping[str, NDArray[Any]] | None:
    """The sample row, an array for each input without the batch axis; ``None`` where there is none that fits.

    Args:
        version: Whose sample.
        folder: Its verified files.
        most_bytes: What it may unpack to, since an import's sandbox wrote it and might have been taken over.
    """
    path = folder / WARMUP_FILE
    if WARMUP_FILE not in version.files or not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > most_bytes:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            row = {spec.name: arrays[spec.name] for spec in version.signature.inputs}
        for spec in version.signature.inputs:
            shape = row[spec.name].shape
            fits = len(shape) == spec.rank and all(
                axis in (None, size) for axis, size in zip(spec.shape, shape, strict=True)
            )
            if not fits:
                return None
            row[spec.name] = row[spec.name].astype(array_dtype(spec))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return row
