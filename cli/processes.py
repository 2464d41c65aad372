"""Proves which processes are ours, and ends them.

A process id says little: it may belong to another program by now. So the run file keeps each id together with the
moment the process began. Every child leads a session of its own, which holds whatever it starts in turn.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

SCHEMA = 1
GUARDIAN = "guardian"
SERVER = "redis"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process of a run, as the run file keeps it."""

    name: str
    pid: int
    began: str
    """When the process began, in a form that only equality is asked of."""


def moment_of(pid: int) -> str | None:
    """When the living process of this id began; ``None`` for a dead one or a zombie."""
    try:
        if sys.platform != "linux":
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        # Ticks since the boot: no change of the clock touches them.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except (psutil.Error, OSError, IndexError):
        return None


def record_of(name: str, pid: int) -> ProcessRecord:
    """The record of a process that has just been started."""
    return ProcessRecord(name, pid, moment_of(pid) or "")


def is_alive(record: ProcessRecord) -> bool:
    """Whether the very process of this record still runs."""
    return bool(record.began) and moment_of(record.pid) == record.began


def members(record: ProcessRecord) -> list[int]:
    """The living processes of the session that a process of ours leads, or led."""
    if not is_alive(record) and moment_of(record.pid) is not None:
        return []  # the id belongs to a stranger by now, and with it any session of that id
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == record.pid and moment_of(pid) is not None:
                found.append(pid)
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], seconds: float, step: float = 0.05) -> bool:
    """Waits for a condition; answers whether it came in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(step)
    return True


def end_all(records: Iterable[ProcessRecord], grace_seconds: float) -> None:
    """Asks processes to stop, waits, and kills what is left of their sessions."""
    records = list(records)
    send((record.pid for record in records if is_alive(record)), signal.SIGTERM)
    wait_until(lambda: not any(is_alive(record) for record in records), grace_seconds)
    for _ in range(3):  # a process may have forked while we looked
        rest = [pid for record in records for pid in members(record)]
        if not rest:
            return
        send(rest, signal.SIGKILL)
        wait_until(lambda rest=rest: all(moment_of(pid) is None for pid in rest), 2)  # type: ignore[misc]


class RunFile:
    """The list of processes of one run, kept on disk for whoever must clean up after a crash.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, records: Iterable[ProcessRecord]) -> None:
        """Replaces the list at once, never leaving half of it."""
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({"schema": SCHEMA, "processes": [asdict(record) for record in records]}))
        draft.replace(self._path)

    def read(self) -> list[ProcessRecord]:
        """The list; empty when there is none that can be read."""
        try:
            return [ProcessRecord(**item) for item in json.loads(self._path.read_text())["processes"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def end_left_overs(self, grace_seconds: float = 5.0) -> None:
        """Ends what a killed run has left, save the Redis server and the guardian."""
        end_all((record for record in self.read() if record.name not in (GUARDIAN, SERVER)), grace_seconds)

    def find(self, name: str) -> ProcessRecord | None:
        """The living process of that name."""
        return next((record for record in self.read() if record.name == name and is_alive(record)), None)
