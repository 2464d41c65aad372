"""Reads an untrusted zip archive member by member, and never writes under a member's name.

Everything that the directory says is checked before the first member is read; a member is then bound by the size that
it declared, so an archive can neither unpack to more than it may nor reach outside itself.
"""

import copy
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, BinaryIO

from shared.errors import DatasetRefused, InputError
from shared.settings import DatasetsSettings

_DIRECTORY_BYTES_PER_FILE = 256
_MOST_PARTS = 16
_MOST_NAME = 1024
_LOCAL_HEADER = 30
_PIECE = 1 << 20
# Image files are compressed themselves and hardly shrink again. Those that are not, blank bitmaps above all, shrink as
# well as a bomb does: what tells them apart is their size, of which the caller knows how much any image may have.
_BOMB_RATIO = 100
_MOST_RATIO = 1032  # deflate's own
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
        self._most_measured = limits.max_unpacked_bytes
        self._measured = 0
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

    def refuse_bombs(self, most: int) -> None:
        """Looks at what the members declare.

        Args:
            most: Bytes beyond which a member that shrank that well is no image.

        Raises:
            DatasetRefused: One of them declares to be a bomb.
        """
        for member in self.members:
            _refuse_bomb(member, member.size, most)

    def refuse_hidden_bomb(self, member: Member, most: int) -> None:
        """Unpacks a member that could not be read, keeping nothing, since it may be larger than it declares.

        Raises:
            DatasetRefused: It is a bomb, or such members come to more than the whole archive may.
        """
        packed = member.info.compress_size
        if member.info.compress_type == zipfile.ZIP_STORED or packed * _MOST_RATIO <= most:
            return
        size = self._measure(member, max(most, packed * _BOMB_RATIO))
        _refuse_bomb(member, size, most)
        self._measured += size
        if self._measured > self._most_measured:
            raise DatasetRefused(f"the archive unpacks to more than the {self._most_measured} bytes accepted")

    def _measure(self, member: Member, most: int) -> int:
        """The bytes that a member really unpacks to, or some number above ``most``."""
        info = copy.copy(member.info)
        info.file_size = most + 1  # zipfile reads no further than this
        del info.CRC  # nor does it compare what it has read then
        size = 0
        with suppress(*_DAMAGE), self._zip.open(info) as stream:
            while size <= most and (piece := stream.read(_PIECE)):
                size += len(piece)
        return size


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


def _refuse_bomb(member: Member, size: int, most: int) -> None:
    packed = member.info.compress_size
    if size > most and size > _BOMB_RATIO * packed:
        raise DatasetRefused(
            f"the archive's member {member.name[:80]!r} unpacks from {packed} to {size} bytes or more, which no image "
            "does; leave it out"
        )


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
