"""A whole service of real processes: a server with an append-only file, an API, and workers with a NumPy engine.

The engine obeys its input: ``x = [value, command]`` answers ``2 * value`` after it did what the command says; see
``numpy_worker.py``. It says in files what it computes, so that tests wait for events and not for the clock.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.api_keys import ApiKeys
from shared.artifacts import open_artifacts
from shared.connections import open_redis
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature
from shared.settings import Settings, load_settings
from tests.conftest import RedisServer

HERE = Path(__file__).parent
MODEL = "acme/double"
SIGNATURE = {
    "inputs": [{"name": "x", "kind": "tensor", "dtype": "int32", "shape": [2]}],
    "outputs": [{"name": "y", "kind": "tensor", "dtype": "int32", "shape": [1]}],
}
PLAIN, HOLD, DIE, HANG, RAISE, STOP = range(6)
"""What a row's second number makes the engine do."""


class Stack:
    """The service and its processes."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.signals = folder / "signals"
        self.signals.mkdir(parents=True)
        (folder / "redis").mkdir()
        self.server = RedisServer(folder / "redis", "--appendonly", "yes")
        self.environment = {
            **os.environ,
            "HEADRACE_DATA_DIR": str(folder / "data"),
            "HEADRACE_REDIS__URL": self.server.url,
            "HEADRACE_QUEUE__LEASE_SECONDS": "1.5",
            "HEADRACE_QUEUE__SWEEP_SECONDS": "0.2",
            "HEADRACE_WORKER__HEARTBEAT_SECONDS": "0.5",
            "HEADRACE_INFERENCE__BATCH_TIMEOUT_SECONDS": "30",
            "TESTS_SIGNALS": str(self.signals),
            "PYTHONPATH": os.pathsep.join((str(HERE.parent.parent), str(HERE))),
            **environment,
        }
        own = {name: value for name, value in self.environment.items() if name.startswith("HEADRACE_")}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in own.items():
                patch.setenv(name, value)
            self.settings: Settings = load_settings()
        self.redis = open_redis(self.settings)
        self.artifacts = open_artifacts(self.settings)
        self.queue = JobQueue(self.redis, self.settings, self.artifacts)
        self.jobs = JobStore(self.redis, self.settings, self.artifacts)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.key, _ = ApiKeys(self.redis, self.settings).create("acme", "tests", ["admin"])
        self.registry = ModelRegistry(self.artifacts, self.redis, self.settings)
        model = folder / "model.keras"
        model.write_bytes(b"the NumPy engine reads no file")
        owner, name = MODEL.split("/")
        self.registry.ensure_model(owner, name)
        self.version = self.registry.publish(
            owner,
            name,
            {"model.keras": model},
            created_at="2026-01-01T00:00:00.000Z",
            source="import",
            job_id="tests",
            signature=Signature.from_json(SIGNATURE),
        ).id
        self.registry.move_alias(owner, name, "production", self.version, "tests")
        self.url = ""

    def start(self, *command: str, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment,
                cwd=HERE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_api(self, port: int = 0, threads: int = 80) -> subprocess.Popen[bytes]:
        port = port or free_port()
        process = self.start(
            "granian", "--interface", "wsgi", "--factory", "api:create_app", "--host", "127.0.0.1",
            "--port", str(port), "--workers", "1", "--blocking-threads", str(threads), "--no-ws", name="api",
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        self.wait(lambda: self.answers("/livez"), "the API")
        return process

    def launch_worker(self, app: str = "numpy_worker") -> subprocess.Popen[bytes]:
        return self.start(
            "celery", "-A", app, "worker", "-P", "solo", "-Q", "predict.cpu",
            "-n", f"w{len(self.processes)}@%h", "--without-mingle", "--without-gossip", "--without-heartbeat",
            name="worker",
        )  # fmt: skip

    def start_worker(self, app: str = "numpy_worker") -> subprocess.Popen[bytes]:
        before = {info.name for info in self.living()}
        process = self.launch_worker(app)
        self.wait(lambda: {info.name for info in self.living()} - before, "a worker")
        return process

    def living(self) -> Any:
        from shared.heartbeats import Heartbeats

        return Heartbeats(self.redis, self.settings).living()

    def answers(self, path: str) -> bool:
        try:
            return requests.get(self.url + path, timeout=5).ok
        except requests.ConnectionError:
            return False

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {self.key}"
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=60)

    def post(self, x: list[Any], **headers: str) -> dict[str, Any]:
        reply = self.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": x}}, **headers)
        assert reply.status_code == 201, reply.text
        job: dict[str, Any] = reply.json()
        return job

    def get(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.call("GET", f"/v1/predictions/{job_id}").json()
        return job

    def ended(self, job_id: str, seconds: float = 40.0) -> dict[str, Any]:
        """The job once it has ended."""
        final = ("succeeded", "failed", "canceled")
        self.wait(lambda: self.get(job_id)["status"] in final, f"the end of {job_id}", seconds)
        return self.get(job_id)

    def signaled(self, name: str) -> Path:
        """Waits for a file that the engine writes."""
        path = self.signals / name
        self.wait(path.exists, f"the signal {name}")
        return path

    def let_go(self, name: str = "go") -> None:
        """Lets rows that hold go on."""
        (self.signals / name).touch()

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                logs = "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))
                raise AssertionError(f"{what} did not come within {seconds} s\n{logs}")
            time.sleep(0.02)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a process and its children with -9."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.redis.close()
        self.server.close()


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    stacks: list[Stack] = []

    def make(**environment: str) -> Stack:
        stacks.append(Stack(tmp_path / f"stack{len(stacks)}", **environment))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.close()


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """A service with an API and no worker yet."""
    made = make_stack()
    made.start_api()
    return made
