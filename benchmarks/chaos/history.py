"""What was seen, in the order in which it was seen: one JSON object a line, kept whatever happens."""

import json
import threading
import time
from pathlib import Path
from typing import Any


class History:
    """An append-only log that many threads write.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def add(self, what: str, **facts: Any) -> None:
        """Writes one line: what, when (seconds since the epoch by the machine's clock), and the facts."""
        line = json.dumps({"at": round(time.time(), 6), "what": what, **facts}, separators=(",", ":"))
        with self._lock:
            self._file.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All lines so far."""
        with self.path.open() as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
