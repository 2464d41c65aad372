"""Keeps the processes of one machine running: starts them, starts again what dies, stops them all.

Every child leads a session of its own, so that Ctrl-C reaches only us and a kill reaches all that a child has started.
A guardian process watches over the supervisor itself.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.guard import Guard
from cli.log_files import LogFiles
from cli.processes import (
    SERVER,
    ProcessRecord,
    RunFile,
    end_all,
    is_alive,
    members,
    record_of,
    send,
    wait_until,
)
from cli.terminal import Failure
from shared.watchdog import WATCHDOG_STATUS

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A child that ran this long starts again without the delays of its earlier deaths."""
AT_WORK_SECONDS = 1.0
"""A child that ran this long and was ended by its watchdog was at work: it starts again at once.

Delays are for programs that cannot run. A watchdog ends one that could, for the sake of what waits behind the job that
hangs, and not before a time limit has passed, which keeps the starts apart.
"""
TICK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, under a name that log and run file carry."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    """Working folder: one of ours, since Python and Celery would import from it."""
    inherited: tuple[int, ...] = ()
    """File descriptors that the process keeps open."""
    before: Callable[[], None] | None = None
    """Called ahead of every start."""


UNKNOWN = 1 << 16
"""Stands for the exit status of a process that is not our child; no real one is as large."""


@dataclass(slots=True)
class _Child:
    program: Program
    record: ProcessRecord
    process: subprocess.Popen[bytes] | None
    """``None`` for an adopted process, which is not our child."""
    started: float
    deaths: int = 0
    restart_at: float | None = None

    def status(self) -> int | None:
        """The exit status, ``UNKNOWN`` of a process that is not our child; ``None`` while it runs."""
        if self.process is not None:
            return self.process.poll()
        return None if is_alive(self.record) else UNKNOWN


@dataclass(slots=True)
class Supervisor:
    """The processes of one run.

    Args:
        run_file: Where the processes are written down.
        logs: Where their output goes.
        say: Called with one sentence for the person at the terminal.
    """

    run_file: RunFile
    logs: LogFiles
    say: Callable[[str], None]
    first_delay_seconds: float = FIRST_DELAY_SECONDS
    _children: dict[str, _Child] = field(default_factory=dict)
    _guard: Guard | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: bool = False
    _bounded_at: float = 0.0

    def guard(self, run_file_path: Path, grace_seconds: float = 5.0) -> None:
        """Starts the guardian, which gives processes that long to stop; call it before the first program."""
        self._guard = Guard(run_file_path, grace_seconds, self._delay, STEADY_SECONDS)
        self._guard.start()
        self._write()

    def start(self, program: Program) -> None:
        """Starts a program and keeps it running from now on."""
        with self._lock:
            self.logs.begin(program.name)
            self._children[program.name] = self._launch(program)

    def adopt(self, program: Program, record: ProcessRecord) -> None:
        """Takes over a process that an earlier run has left; the program is how it would be started again."""
        with self._lock:
            self._children[program.name] = _Child(program, record, None, time.monotonic())
            self._write()

    def deaths(self, name: str) -> int:
        """How often in a row a program has died early."""
        with self._lock:
            return self._children[name].deaths

    def is_running(self, name: str) -> bool:
        """Whether a program runs at this moment."""
        with self._lock:
            return self._children[name].status() is None

    def pid(self, name: str) -> int:
        """The process id that a program has now, or had last."""
        with self._lock:
            return self._children[name].record.pid

    def tick(self) -> None:
        """Looks after every child once; to be called a few times a second."""
        with self._lock:
            if self._stopping:
                return
            now = time.monotonic()
            for child in list(self._children.values()):
                self._look_after(child, now)
            if self._guard is not None:
                self._look_after_guard(self._guard, now)
            if now - self._bounded_at > STEADY_SECONDS:
                self._bounded_at = now
                for name in self._children:
                    self.logs.bound(name)

    def run(self, until: threading.Event) -> None:
        """Looks after the children until the event is set."""
        while not until.wait(TICK_SECONDS):
            try:
                self.tick()
            except OSError as error:  # a full disk, a closed terminal: no reason to stop looking after the children
                with contextlib.suppress(OSError):
                    self.say(f"The processes could not be looked after: {error}")

    def stop(self, grace_seconds: float = 6.0) -> None:
        """Stops everything: all but the Redis server first, so that each process can still hand its work back.

        Where nothing listens it takes the grace and three seconds more, so that ``up`` ends within ten.
        """
        with self._lock:
            self._stopping = True
            children = [child for child in self._children.values() if child.restart_at is None]
        workers = [child for child in children if child.program.name != SERVER]
        servers = [child for child in children if child.program.name == SERVER]
        self._end(workers, grace_seconds)
        self._end(servers, 2.0)
        self.run_file.write([])
        if self._guard is not None:
            self._guard.stop(1)  # the run file is empty, so it has nothing to do but to end

    def hurry(self) -> None:
        """Kills everything but the Redis server at once: for a second Ctrl-C while ``stop`` waits."""
        rest = [
            pid for child in self._children.values() if child.program.name != SERVER for pid in members(child.record)
        ]
        send(rest, signal.SIGKILL)

    def _end(self, children: list[_Child], grace_seconds: float) -> None:
        send((child.record.pid for child in children if child.status() is None), signal.SIGTERM)
        wait_until(lambda: all(child.status() is not None for child in children), grace_seconds)
        end_all((child.record for child in children), grace_seconds=0)
        for child in children:
            if child.process is not None:
                child.process.wait(5)

    def _look_after(self, child: _Child, now: float) -> None:
        if child.restart_at is None:
            status = child.status()
            if status is not None:
                end_all([child.record], grace_seconds=0)  # what it had started itself
                lived = now - child.started
                if status == WATCHDOG_STATUS and lived > AT_WORK_SECONDS:
                    child.deaths = 0
                else:
                    child.deaths = 1 if lived > STEADY_SECONDS else child.deaths + 1
                self._put_off(child, now, _ending(status, self.logs.last_line(child.program.name)))
        elif now >= child.restart_at:
            try:
                self._launch(child.program, child.deaths)
            except (OSError, Failure) as error:
                child.deaths += 1
                self._put_off(child, now, f"cannot be started ({error})")

    def _look_after_guard(self, guard: Guard, now: float) -> None:
        death = guard.ended(now)
        if death is not None:
            self._write()
            status, delay = death
            self.say(f"guardian {_ending(status, '')}; it starts again in {delay:g} s.")
            return
        try:
            if guard.start_again(now):
                self._write()
        except OSError as error:
            self.say(f"guardian cannot be started ({error}); this is tried again.")

    def _delay(self, deaths: int) -> float:
        return min(MAX_DELAY_SECONDS, self.first_delay_seconds * 2.0 ** (deaths - 1)) if deaths else 0.0

    def _put_off(self, child: _Child, now: float, reason: str) -> None:
        name = child.program.name
        delay = self._delay(child.deaths)
        child.restart_at = now + delay
        soon = f"in {delay:g} s" if delay else "at once"
        self.say(f"{name} {reason}; it starts again {soon}. Its log: {self.logs.path(name)}")

    def _launch(self, program: Program, deaths: int = 0) -> _Child:
        if program.before is not None:
            program.before()
        with self.logs.path(program.name).open("ab") as log:
            process = subprocess.Popen(
                program.command,
                env=dict(program.environment),
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=program.inherited,
            )
        child = _Child(program, record_of(program.name, process.pid), process, time.monotonic(), deaths)
        self._children[program.name] = child
        self._write()
        return child

    def _write(self) -> None:
        records = [child.record for child in self._children.values()]
        self.run_file.write([*records, *(self._guard.records if self._guard is not None else ())])


def _ending(status: int, last_words: str) -> str:
    if status == UNKNOWN:
        return "ended with an unknown exit status (it was started by an earlier run)"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}" + (f" ({last_words})" if status and last_words else "")
