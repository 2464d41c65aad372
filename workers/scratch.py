"""Folders for what a job needs on this machine while it runs; what a killed worker has left is cleared away.

Each lies under ``cache/scratch`` of the data folder and is locked by the process that works in it. The kernel drops the
lock when that process dies, however it dies, so an unlocked folder has no owner any more: a process id could be another
program's by then, and several containers share a data folder without seeing each other's ids.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.settings import Settings

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def scratch_folder(settings: Settings, kind: str) -> Iterator[Path]:
    """A new folder that only its owner may read; it goes when the block ends, or after the process has died.

    Args:
        settings: The process's settings.
        kind: What is done there, for people who look: ``training``.

    Raises:
        OSError: It cannot be made.
    """
    clear_scratch(settings)
    root = scratch_root(settings)
    root.mkdir(parents=True, exist_ok=True)
    folder, lock = _own_folder(root, kind)
    try:
        with folder as name:
            yield Path(name)
    finally:
        if lock is not None:
            os.close(lock)


def clear_scratch(settings: Settings) -> None:
    """Removes the folders whose owner has died; never one whose owner lives, nor anything that a link leads to."""
    try:
        folders = list(scratch_root(settings).iterdir())
    except OSError:
        return
    for folder in folders:
        try:
            lock = _lock(folder)
        except OSError:  # a file or a link, somebody else's, or a file system without locks
            continue
        if lock is not None:
            # Under the lock, or a process that comes to own a folder of that name could lose it.
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def scratch_root(settings: Settings) -> Path:
    """Where the folders lie."""
    return settings.data_dir.expanduser().resolve() / "cache" / "scratch"


def _own_folder(root: Path, kind: str) -> tuple[tempfile.TemporaryDirectory[str], int | None]:
    while True:
        folder = tempfile.TemporaryDirectory(prefix=f"{kind}-", dir=root)
        try:
            lock = _lock(Path(folder.name))
        except OSError:  # some network file systems lock no folder; there none is ever taken for left over either
            return folder, None
        if lock is not None:
            return folder, lock
        # Another process saw it between the two steps, took it for left over, and removes it.
        folder.cleanup()


def _lock(folder: Path) -> int | None:
    """An open descriptor that locks a folder until it is closed, ``None`` where another has it or has removed it.

    Raises:
        OSError: It is no folder, or cannot be locked.
    """
    try:
        descriptor = os.open(folder, _FLAGS)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock before may have removed the folder, and the name be another's now.
        if os.path.samestat(os.fstat(descriptor), os.lstat(folder)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
