"""Brings the files of a version to this machine and makes sure that they are what was published.

Digests are verified at every load: what lies in the store, or in a cache, may have been changed since.
"""

import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path

import structlog

from shared.artifacts import ArtifactStore
from shared.errors import ModelLoadError
from shared.models.version import FileFacts, ModelVersion

log = structlog.get_logger(__name__)

_GONE = "E1202"

DAMAGED_PAUSES = (1.0, 4.0)
"""Seconds before a file is copied again that came damaged out of a store elsewhere: it may have been cut off."""


def facts_of(local: Path) -> FileFacts:
    """What a manifest says of a file."""
    with local.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": local.stat().st_size}


def fetch_files(store: ArtifactStore, folder: str, version: ModelVersion, cache: Path) -> Path:
    """A folder of this machine with the verified files of a version.

    Args:
        store: Where the version lies.
        folder: Its path there.
        version: Whose files.
        cache: Where copies are kept, a folder for each version.

    Raises:
        ModelLoadError: E1202 a file is missing, E1201 one is not what the manifest says.
    """
    local = store.local_path(folder)
    if local is not None:
        _verify(version, local)
        return local
    copy = cache / version.id
    if copy.is_dir():
        try:
            os.utime(copy)  # `prune_copies` sees by it which copies are in use
            _verify(version, copy)
            return copy
        except ModelLoadError:
            shutil.rmtree(copy, ignore_errors=True)
    return _copied(store, folder, version, copy)


def _copied(store: ArtifactStore, folder: str, version: ModelVersion, copy: Path) -> Path:
    fresh = copy.with_name(f"{version.id}.{uuid.uuid4().hex}")
    try:
        for path in version.files:
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                store.get(f"{folder}/{path}", target)
                for pause in DAMAGED_PAUSES:
                    if facts_of(target)["sha256"] == version.files[path]["sha256"]:
                        break
                    log.warning("a file came damaged out of the artifact store", version=version.id, path=path)
                    time.sleep(pause)
                    store.get(f"{folder}/{path}", target)
            except FileNotFoundError as error:
                raise ModelLoadError(f"the file {path} of version {version.id} is gone", _GONE) from error
        _verify(version, fresh)
        try:
            os.replace(fresh, copy)
        except OSError:  # another process of this machine was first; its copy has to stand the same test
            _verify(version, copy)
        return copy
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _verify(version: ModelVersion, folder: Path) -> None:
    for path, facts in version.files.items():
        try:
            with (folder / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise ModelLoadError(f"the file {path} of version {version.id} is gone", _GONE) from error
        if digest != facts["sha256"]:
            raise ModelLoadError(f"the file {path} of version {version.id} was changed after it was published")
