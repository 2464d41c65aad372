"""Keeps one log file for each process of a run, within bounds."""

import shutil
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024
"""Size at which the log of a running process is moved aside."""
KEPT = 3
"""Older logs kept of each process."""


class LogFiles:
    """The logs of one data folder.

    Args:
        folder: Where they lie; made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, name: str) -> Path:
        """The log of a process."""
        return self.folder / f"{name}.log"

    def begin(self, name: str) -> None:
        """Moves the log of an earlier run aside."""
        path = self.path(name)
        if path.exists() and path.stat().st_size:
            self._make_room(name)
            path.rename(self._older(name, 1))

    def bound(self, name: str) -> None:
        """Moves a log aside that has grown too large, while its process writes on."""
        path = self.path(name)
        if path.exists() and path.stat().st_size > MAX_BYTES:
            self._make_room(name)
            # The process holds the file open for appending, so it must be copied and cut, not renamed.
            shutil.copyfile(path, self._older(name, 1))
            with path.open("r+b") as file:
                file.truncate(0)

    def last_line(self, name: str) -> str:
        """The last line that is not blank, short enough for a terminal."""
        try:
            with self.path(name).open("rb") as file:
                file.seek(max(0, self.path(name).stat().st_size - 4096))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def _older(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.log.{number}"

    def _make_room(self, name: str) -> None:
        self._older(name, KEPT).unlink(missing_ok=True)
        for number in range(KEPT - 1, 0, -1):
            if self._older(name, number).exists():
                self._older(name, number).rename(self._older(name, number + 1))
