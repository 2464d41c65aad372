"""The file of a backup: a tar archive of the keys, then the files of the artifact store, then the list of both.

Redis is read first: a file may be there that no record names yet, and never a record whose file came later. The list
has the digest of every file and is written last, so that half a backup is known as one.
"""

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from shared.artifacts import ArtifactStore
from shared.backups.keys import KeyCopier
from shared.errors import InvalidInput
from shared.jobs.job import SCHEMA

FORMAT = 1
_HEAD, _KEYS, _LIST, _FILES = "backup.json", "keys.jsonl", "files.json", "artifacts/"
_PIECE = 1 << 20

Progress = Callable[[str, int], None]
"""Told what is copied, ``keys`` or ``files``, and how many of it so far."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a backup holds, or what a restore brought."""

    keys: int
    files: int
    bytes: int
    created_at: str
    jobs_waiting: int | None = None
    """After a restore: jobs that had not ended, and wait again."""


def write_backup(path: Path, keys: KeyCopier, store: ArtifactStore, progress: Progress) -> Summary:
    """Writes a backup, readable by its owner only; what was there is replaced at the end, or stays.

    Args:
        path: The file.
        keys: The keys.
        store: The files.
        progress: Told how it goes.
    """
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    draft = path.with_name(path.name + ".partial")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, _HEAD, {"format": FORMAT, "schema": SCHEMA, "created_at": created})
                with tempfile.TemporaryFile(dir=path.parent) as lines:
                    count = keys.dump(cast(BinaryIO, lines), lambda done: progress("keys", done))
                    info = tarfile.TarInfo(_KEYS)
                    info.size, info.mode = lines.tell(), 0o600
                    lines.seek(0)
                    tar.addfile(info, cast(IO[bytes], lines))
                listed = _add_files(tar, store, progress)
                _add(tar, _LIST, listed)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return Summary(count, len(listed), sum(facts["bytes"] for facts in listed.values()), created)


def read_backup(
    path: Path,
    keys: KeyCopier,
    store: ArtifactStore,
    progress: Progress,
    before: Callable[[], None] | None = None,
) -> Summary:
    """Brings back what a backup holds: the files first, so that no job waits for one.

    Args:
        path: The file.
        keys: Where the keys go.
        store: Where the files go.
        progress: Told how it goes.
        before: Called once the file was found whole, before anything is changed.

    Raises:
        InvalidInput: It is no whole backup, or of a later form; nothing is changed then.
    """
    try:
        head, listed = _checked(path)
        if before is not None:
            before()
        count, waiting, found = 0, 0, 0
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.name.startswith(_FILES):
                    with cast(IO[bytes], tar.extractfile(member)) as file, tempfile.TemporaryFile() as copy:
                        while piece := file.read(_PIECE):
                            copy.write(piece)
                        store.put_open(cast(BinaryIO, copy), member.name.removeprefix(_FILES))
                    found += 1
                    progress("files", found)
        with tarfile.open(path, "r:") as tar, cast(IO[bytes], tar.extractfile(_KEYS)) as lines:
            count, waiting = keys.load(lines, lambda done: progress("keys", done))
    except (tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"{path} is not a whole backup: {error}.") from error
    size = sum(facts["bytes"] for facts in listed.values())
    return Summary(count, found, size, head["created_at"], waiting)


def _checked(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads all of a backup once, before anything is changed; answers its head and its list."""
    head: dict[str, Any] = {}
    listed: dict[str, Any] | None = None
    seen: dict[str, Any] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            file = cast(IO[bytes], tar.extractfile(member))
            if member.name == _HEAD:
                head = json.load(file)
            elif member.name == _LIST:
                listed = json.load(file)
            elif member.name.startswith(_FILES):
                digest = hashlib.sha256()
                while piece := file.read(_PIECE):
                    digest.update(piece)
                seen[member.name.removeprefix(_FILES)] = {"bytes": member.size, "sha256": digest.hexdigest()}
    if head.get("format") != FORMAT or head.get("schema", 0) > SCHEMA:
        raise InvalidInput(f"{path} is no backup that this release can read; restore it with the one that made it.")
    if listed is None or listed != seen:
        raise InvalidInput(f"{path} is not a whole backup: files are missing or changed.")
    return head, listed


def _add(tar: tarfile.TarFile, name: str, value: Any) -> None:
    data = json.dumps(value).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    with tempfile.SpooledTemporaryFile() as file:
        file.write(data)
        file.seek(0)
        tar.addfile(info, cast(IO[bytes], file))


def _add_files(tar: tarfile.TarFile, store: ArtifactStore, progress: Progress) -> dict[str, dict[str, Any]]:
    listed: dict[str, dict[str, Any]] = {}
    for name in store.walk():
        with tempfile.TemporaryFile() as copy:
            digest = hashlib.sha256()
            try:
                with store.open(name) as file:
                    while piece := file.read(_PIECE):
                        digest.update(piece)
                        copy.write(piece)
            except FileNotFoundError:  # deleted meanwhile
                continue
            info = tarfile.TarInfo(_FILES + name)
            info.size, info.mode = copy.tell(), 0o600
            copy.seek(0)
            tar.addfile(info, cast(IO[bytes], copy))
        listed[name] = {"bytes": info.size, "sha256": digest.hexdigest()}
        progress("files", len(listed))
    return listed
