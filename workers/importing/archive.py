"""Looks at a ``.keras`` archive before anything is taken out of it: its members, their names and their sizes."""

import json
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

from shared.errors import ImportRefused

WEIGHTS = "model.weights.h5"
"""The member that holds the weights."""

_NEEDED = ("config.json", "metadata.json", WEIGHTS)
_ASSET = re.compile(r"assets(/[A-Za-z0-9_][A-Za-z0-9_.+=@ -]*)+")
_MOST_MEMBERS = 10_000
_MOST_CONFIG_BYTES = 64 * 2**20
_ENCRYPTED = 0x1
# Keras stores without packing; deflate alone could reach 1000 to 1, and only on bytes that are all alike.
_MOST_EXPANSION = 100
_ALWAYS_FINE_BYTES = 2**20


def check_archive(path: Path, max_unpacked_bytes: int) -> dict[str, Any]:
    """Checks the members of a ``.keras`` file.

    Args:
        path: The file.
        max_unpacked_bytes: How much all members may unpack to.

    Returns:
        The parsed ``config.json``.

    Raises:
        ImportRefused: A member does not belong into a model file, lies outside of it, or is a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), max_unpacked_bytes)
            return read_json(archive.read("config.json"), "config.json")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise ImportRefused(f"the file is a damaged .keras archive ({error})") from error


def _check_members(members: list[zipfile.ZipInfo], max_unpacked_bytes: int) -> None:
    names = [member.filename for member in members]
    if len(names) > _MOST_MEMBERS:
        raise ImportRefused(f"the archive has more than {_MOST_MEMBERS} members")
    if any(name.endswith(("saved_model.pb", "saved_model.pbtxt")) for name in names):
        raise ImportRefused("the archive is a SavedModel; save the model with model.save('model.keras') instead")
    if len(set(names)) != len(names):
        raise ImportRefused("the archive has two members of one name")
    for member in members:
        _check_name(member)
        _check_size(member)
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise ImportRefused(f"the archive has no {missing[0]}; save the model with model.save('model.keras')")
    if sum(member.file_size for member in members) > max_unpacked_bytes:
        raise ImportRefused(f"the archive unpacks to more than {max_unpacked_bytes} bytes")


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ImportRefused(f"the member {name!r} is a link")
    if name in _NEEDED:
        return
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        raise ImportRefused(f"the member {name!r} lies outside of the archive")
    if not _ASSET.fullmatch(name.removesuffix("/")) and name != "assets/":
        raise ImportRefused(f"the member {name!r} does not belong into a model file")


def _check_size(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & _ENCRYPTED:
        raise ImportRefused(f"the member {name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImportRefused(f"the member {name!r} is packed in a way that model files never are")
    if member.file_size > max(_ALWAYS_FINE_BYTES, _MOST_EXPANSION * member.compress_size):
        raise ImportRefused(f"the member {name!r} is a decompression bomb")
    if name.endswith(".json") and member.file_size > _MOST_CONFIG_BYTES:
        raise ImportRefused(f"the member {name!r} is too large")


def read_json(data: bytes | str, name: str) -> dict[str, Any]:
    """Parses a configuration; refuses what is none."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{name} is not JSON that can be read") from error
    if not isinstance(parsed, dict):
        raise ImportRefused(f"{name} does not describe a model")
    return parsed
