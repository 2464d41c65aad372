"""Keeps the copies of versions on one machine within bounds, where the artifact store is elsewhere.

A copy is only needed while its version is loaded into memory; kept, it saves the next load the way to the store. The
processes of a machine share the copies, so one that was fetched a moment ago may still be being loaded and stays.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

RECENT_SECONDS = 3600.0
"""How long after it was fetched a copy stays in any case, and after how long an unfinished one counts as left over."""


def prune_copies(cache: Path, most_bytes: int, exists: Callable[[str], bool]) -> None:
    """Removes copies of deleted versions, left-over halves, and beyond a size those that were not fetched for longest.

    Args:
        cache: The folder that holds a folder for each version.
        most_bytes: What all copies may take together.
        exists: Whether there still is a version of that id.
    """
    if not cache.is_dir():
        return
    held, now = 0, time.time()
    for copy, fetched in sorted(_fetched(cache), key=lambda entry: entry[1], reverse=True):
        is_recent = now - fetched < RECENT_SECONDS
        is_whole = "." not in copy.name
        if is_whole and exists(copy.name):
            held += sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
            if is_recent or held <= most_bytes:
                continue
        elif is_recent and not is_whole:
            continue
        shutil.rmtree(copy, ignore_errors=True)


def _fetched(cache: Path) -> list[tuple[Path, float]]:
    """Each copy, and when it was last fetched."""
    found = []
    for copy in cache.iterdir():
        try:
            found.append((copy, copy.stat().st_mtime))
        except FileNotFoundError:  # another process of this machine was quicker
            continue
    return found
