"""The artifact store: versions, data sets, checkpoints and large inputs, under any fsspec URL.

Paths are relative and use ``/``. A reader never sees half a file: on a local store a file is written beside its place
and moved there, and object stores publish an object when its upload ends.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

from shared.errors import Unavailable
from shared.settings import Settings

REFERENCE = "artifact:"
"""How a text begins that stands for a file of the store, ``artifact:files/{id}/content``; no text of a client does."""

_LEAST_BYTES = 1 << 20


class ArtifactStore:
    """Files under one root.

    Every method raises ``FileNotFoundError`` where a path does not exist and ``Unavailable`` where the store does not
    answer or is full.

    Args:
        url: The root, for example ``file:///var/lib/headrace`` or ``s3://bucket/headrace``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = "file" in self._fs.protocol

    def read(self, path: str) -> bytes:
        """The whole of a file; for small ones."""
        with self._translated(path), self.open(path) as file:
            return file.read()

    def open(self, path: str) -> BinaryIO:
        """A file for reading, to be closed by the caller."""
        with self._translated(path):
            return cast(BinaryIO, self._fs.open(self._at(path), "rb"))

    def write(self, path: str, data: bytes) -> None:
        """Replaces a file at once."""
        with self._translated(path), self._placed(path) as place:
            self._fs.pipe_file(place, data)

    def put(self, local: Path, path: str) -> None:
        """Copies a local file into the store, in pieces."""
        with self._translated(path), self._placed(path) as place:
            if self._is_local:
                shutil.copyfile(local, place)
            else:
                self._fs.put_file(str(local), place)

    def put_open(self, file: BinaryIO, path: str) -> None:
        """Copies an open file into the store from its start, in pieces."""
        file.seek(0)
        with self._translated(path), self._placed(path) as place, self._fs.open(place, "wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)

    def get(self, path: str, local: Path) -> None:
        """Copies a file of the store to a local one, in pieces."""
        with self._translated(path):
            self._fs.get_file(self._at(path), str(local))

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is there."""
        with self._translated(path):
            return bool(self._fs.exists(self._at(path)))

    def size(self, path: str) -> int:
        """Size of a file in bytes."""
        with self._translated(path):
            return int(self._fs.size(self._at(path)))

    def names(self, path: str) -> list[str]:
        """Names of a folder's direct children, sorted; empty where there is no such folder."""
        with self._translated(path):
            if not self._is_local:
                self._fs.invalidate_cache(self._at(path))
            try:
                children = self._fs.ls(self._at(path), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in (child.rstrip("/").rsplit("/", 1)[-1] for child in children) if name[0] != ".")

    def walk(self) -> list[str]:
        """Paths of all files, but those that are still being written; those that make others public come last."""
        with self._translated("its root"):
            if not self._is_local:
                self._fs.invalidate_cache()
            found = self._fs.find(self._root)
        start = len(self._root.rstrip("/")) + 1
        paths = [path[start:] for path in found]
        names = ("version.json", "manifest.json")
        return sorted(
            (path for path in paths if not path.rpartition("/")[2].startswith(".")),
            key=lambda path: (path.endswith(names), path),
        )

    def delete(self, path: str) -> None:
        """Removes a file or a folder with all in it; nothing happens where there is none."""
        with self._translated(path):
            try:
                self._fs.rm(self._at(path), recursive=True)
            except FileNotFoundError:
                return

    def problem(self) -> str | None:
        """Why nothing could be kept here now, in one sentence, or ``None``.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._translated("its root"):
            if self._is_local:
                return _folder_problem(Path(self._root))
            bucket = self._root.strip("/").partition("/")[0]
            self._fs.invalidate_cache()
            if bucket and "memory" not in self._fs.protocol and not self._fs.exists(bucket):
                return f"The artifact store has no {bucket}; make it, or set HEADRACE_ARTIFACTS__URL."
        return None

    def local_path(self, path: str) -> Path | None:
        """Where a path lies on this machine, or ``None`` where the store is elsewhere."""
        return Path(self._at(path)) if self._is_local else None

    def _at(self, path: str) -> str:
        parts = path.split("/")
        if not path or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"not a path of the artifact store: {path!r}")
        return f"{self._root.rstrip('/')}/{path}"

    @contextmanager
    def _placed(self, path: str) -> Iterator[str]:
        """The place to write to; what was written is published when the block ends well."""
        final = self._at(path)
        if not self._is_local:
            yield final
            return
        folder, name = os.path.split(final)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name[:80]}.{uuid.uuid4().hex}"
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, final)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unavailable(f"The artifact store failed at {path}: {error.strerror or error}.") from error


def _folder_problem(root: Path) -> str | None:
    folder = root
    while not folder.exists():  # it is made with the first file
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return f"The artifact store {root} cannot be written; see to its owner, or set HEADRACE_ARTIFACTS__URL."
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < _LEAST_BYTES:
        return f"The disk of the artifact store {root} is full; make room."
    return None


def open_artifacts(settings: Settings) -> ArtifactStore:
    """Opens the artifact store that the settings name."""
    return ArtifactStore(settings.artifacts_url)
