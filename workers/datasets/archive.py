"""Reads an untrusted zip archive member by member, and never writes under a member's name.

Everything that the directory says is checked before the first member is read; a member is then bound by the size that
it declared, so an archive can neither unpack to more than it may nor reach outside itself.
"""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO

from shared.errors import DatasetRefused, InputError
from shared.settings import DatasetsSettings

_DIRECTORY_BYTES_PER_FILE = 256
_MOST_PARTS = 16
_MOST_NAME = 1024
_LOCAL_HEADER = 30
# Image files are compressed themselves and hardly shrink; only large blank arrays come near such a ratio.
_BOMB_BYTES = 64 << 20
_BOMB_RATIO = 100
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive."""

    name: str
    """Its path with ``/``, as text to show and to sort by."""
    info: zipfile.ZipInfo

    @property
    def size(self) -> int:
        """Bytes that it declares to unpack to."""
        return self.info.file_size


class Archive:
    """The checked directory of a zip archive.

    Args:
        file: The archive, seekable.
        limits: How much it may hold.

    Raises:
        DatasetRefused: It is no archive, or one that nobody should unpack.
    """

    def __init__(self, file: BinaryIO, limits: DatasetsSettings) -> None:
        most = max(1 << 20, limits.max_files * _DIRECTORY_BYTES_PER_FILE)
        try:
            self._zip = zipfile.ZipFile(_Bounded(file, most))
        except _DAMAGE as error:
            raise DatasetRefused(
                "the upload is no zip or npz file, or was cut off; send a .zip of one folder per class, or an .npz"
            ) from error
        self.members = _checked(self._zip, limits)

    @contextmanager
    def open(self, member: Member) -> Iterator[IO[bytes]]:
        """A member for reading from its beginning.

        Raises:
            InputError: The member is damaged.
        """
        try:
            with self._zip.open(member.info) as stream:
                yield stream
        except _DAMAGE as error:
            raise InputError(f"the archive is damaged here ({error})", code="E1003") from error

    def read(self, member: Member) -> bytes:
        """The whole of a member; for those whose declared size is small enough."""
        with self.open(member) as stream:
            return stream.read()


class _Bounded(io.RawIOBase):
    """The archive, refusing any single read that is too large: ``zipfile`` takes the whole directory in one."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self._most:
            raise DatasetRefused("the archive's directory is larger than its number of files allows")
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _checked(archive: zipfile.ZipFile, limits: DatasetsSettings) -> list[Member]:
    infos = archive.infolist()
    if len(infos) > limits.max_files:
        raise DatasetRefused(f"the archive holds {len(infos)} files, more than the {limits.max_files} accepted")
    declared = sum(info.file_size for info in infos)
    if declared > limits.max_unpacked_bytes:
        raise DatasetRefused(
            f"the archive unpacks to {declared} bytes, more than the {limits.max_unpacked_bytes} accepted"
        )
    members: list[Member] = []
    seen: set[str] = set()
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = _checked_name(info)
        shown = repr(name[:80])
        if info.flag_bits & 0x41:
            raise DatasetRefused(f"the archive's member {shown} is encrypted; send it without a password")
        if info.compress_type not in _METHODS:
            raise DatasetRefused(f"the archive's member {shown} is packed by another method than store or deflate")
        form = stat.S_IFMT(info.external_attr >> 16)
        if form not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DatasetRefused(f"the archive's member {shown} is a link or a device; send the files themselves")
        if info.file_size > _BOMB_BYTES and info.file_size > _BOMB_RATIO * info.compress_size:
            raise DatasetRefused(
                f"the archive's member {shown} unpacks from {info.compress_size} to {info.file_size} bytes, which no "
                "image does; leave it out"
            )
        if info.header_offset < end:
            raise DatasetRefused(f"the archive's member {shown} shares its bytes with another one")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size
        if info.is_dir() or form == stat.S_IFDIR:
            if info.file_size:
                raise DatasetRefused(f"the archive's folder {shown} holds bytes of its own")
            continue
        if name in seen:
            raise DatasetRefused(f"the archive holds two members called {shown}")
        seen.add(name)
        members.append(Member(name, info))
    return members


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        # Without the flag zipfile reads names as cp437, while today's tools write UTF-8 all the same.
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.orig_filename
    name = name.replace("\\", "/")
    shown = repr(name[:80])
    parts = name.rstrip("/").split("/")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise DatasetRefused(f"the archive's member {shown} has control characters in its name")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        raise DatasetRefused(f"the archive's member {shown} has an absolute path; pack it with relative ones")
    if any(part in ("", ".", "..") for part in parts):
        raise DatasetRefused(f"the archive's member {shown} points outside of the archive or names no place in it")
    if len(parts) > _MOST_PARTS or len(name) > _MOST_NAME:
        raise DatasetRefused(
            f"the archive's member {shown} lies more than {_MOST_PARTS} folders deep or has too long a name"
        )
    return name
