"""What a product's process of this program runs before the product itself: faults that can only be had from inside.

The environment names the folder ``CHAOS_FOLDER``, in which small files say what is wrong just now:

    clock     seconds to add to this process's clock
    store     "full", "away", "slow", "half" or "": how the artifact store fares
"""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["CHAOS_FOLDER"])
_real_time = time.time
_offset = 0.0


def _said(name: str) -> str:
    try:
        return (FOLDER / name).read_text().strip()
    except OSError:
        return ""


def _watch_clock() -> None:
    global _offset
    while True:
        try:
            _offset = float(_said("clock") or 0)
        except ValueError:
            continue
        time.sleep(0.2)


def step_clock() -> None:
    """Makes ``time.time`` of this process follow the file ``clock``."""
    threading.Thread(target=_watch_clock, name="chaos-clock", daemon=True).start()
    time.time = lambda: _real_time() + _offset  # type: ignore[assignment]


def spoil_store() -> None:
    """Makes the artifact store fail as the file ``store`` says; files are always copied, as from a store elsewhere."""
    from shared.artifacts import ArtifactStore

    real_get, real_open, real_placed = ArtifactStore.get, ArtifactStore.open, ArtifactStore._placed

    def get(self: Any, path: str, local: Path) -> None:
        with self._translated(path):
            fate = _weather()
        real_get(self, path, local)
        if fate == "half":
            with open(local, "rb+") as file:
                file.truncate(os.path.getsize(local) // 2)

    def open_(self: Any, path: str) -> Any:
        with self._translated(path):
            _weather()
        return real_open(self, path)

    def placed(self: Any, path: str) -> Any:
        if _weather() == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_placed(self, path)

    ArtifactStore.open = open_  # type: ignore[method-assign]
    ArtifactStore.get = get  # type: ignore[method-assign]
    ArtifactStore._placed = placed  # type: ignore[method-assign,assignment]
    ArtifactStore.local_path = lambda self, path: None  # type: ignore[method-assign]


def _weather() -> str:
    fate = _said("store")
    if fate == "away":
        raise OSError(errno.EIO, "Input/output error")
    if fate == "slow":
        time.sleep(1.5)
    return fate


def begin() -> None:
    """Sets the stage; to be called before the product is imported."""
    step_clock()
    spoil_store()
    from benchmarks.chaos import defects

    defects.plant(os.environ.get("CHAOS_DEFECT", ""))
