"""Judges a foreign model file without loading it.

Two forms are taken: the ``.keras`` archive, and the legacy HDF5 file that older tutorials save. What is accepted here
is still loaded in a sandbox only; what is refused here is refused with a sentence that says why.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path

from shared.errors import ImportRefused
from workers.importing.archive import WEIGHTS, check_archive, read_json
from workers.importing.hdf5 import check_hdf5
from workers.importing.network_config import check_network_config

ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def form_of(path: Path) -> str:
    """The form of a model file by its first bytes, never by its name: ``keras`` or ``h5``.

    Raises:
        ImportRefused: It is neither.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(ZIP_MAGIC):
        return "keras"
    if head == HDF5_MAGIC:
        return "h5"
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise ImportRefused("the file is a pickle, which may hold code; save the model with model.save('model.keras')")
    raise ImportRefused(
        "the file is neither a .keras archive nor an HDF5 model; save the model with model.save('model.keras')"
    )


def scan(path: Path, max_unpacked_bytes: int) -> None:
    """Checks a model file of either form.

    Args:
        path: The file.
        max_unpacked_bytes: How much it may unpack to, and how many bytes its weights may declare.

    Raises:
        ImportRefused: Something in it does not belong into a model, points out of it, or is a bomb.
    """
    if form_of(path) == "keras":
        check_network_config(check_archive(path, max_unpacked_bytes))
        _check_weights_of_archive(path, max_unpacked_bytes)
        return
    with path.open("rb") as file:
        config = check_hdf5(file, path.stat().st_size, max_unpacked_bytes)
    if config is None:
        raise ImportRefused("the HDF5 file holds weights only; save the whole model with model.save('model.keras')")
    check_network_config(read_json(config, "the configuration in the HDF5 file"))


def _check_weights_of_archive(path: Path, max_unpacked_bytes: int) -> None:
    with tempfile.TemporaryFile(dir=path.parent) as weights:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS) as member:
                shutil.copyfileobj(member, weights, 2**20)
        except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
            raise ImportRefused(f"the weights in the archive are damaged ({error})") from error
        size = weights.tell()
        weights.seek(0)
        if weights.read(8) != HDF5_MAGIC:
            raise ImportRefused("the weights in the archive are not HDF5")
        weights.seek(0)
        check_hdf5(weights, size, max_unpacked_bytes)
