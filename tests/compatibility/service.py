import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.data_folder import DataFolder
from cli.programs import Shape, programs
from cli.supervisor import Program
from shared.api_keys import ApiKeys
from shared.artifacts import open_artifacts
from shared.connections import open_redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature
from shared.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.promises.conftest import free_port

TEXT = {"name": "prompt", "kind": "text", "dtype": "string", "shape": []}
SIGNATURES: dict[str, Any] = {
    "text": {"inputs": [TEXT], "outputs": [{"name": "text", "kind": "text", "dtype": "string", "shape": []}]},
    "twin": {"inputs": [TEXT], "outputs": [{"name": "text", "kind": "text", "dtype": "string", "shape": []}]},
    "rows": {
        "inputs": [TEXT],
        "outputs": [{"name": "text", "kind": "text", "dtype": "string", "shape": []}],
        "iterates": True,
    },
    "words": {"inputs": [TEXT], "outputs": [{"name": "words", "kind": "text", "dtype": "string", "shape": [None]}]},
    "numbers": {
        "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [3]}],
        "outputs": [{"name": "doubled", "kind": "tensor", "dtype": "float32", "shape": [3]}],
    },
    "image": {
        "inputs": [{"name": "image", "kind": "image", "dtype": "uint8", "shape": [8, 8, 3]}],
        "outputs": [{"name": "scores", "kind": "category", "dtype": "float32", "shape": [2]}],
    },
}
"""What each model of the owner ``stock`` takes and gives; ``stock_worker.py`` answers for them."""
INFERENCE_WORKERS = 3
ROWS_OF_AN_ACCOUNT = 2000


class Service:
    """What ``headrace up`` starts, over HTTP and over HTTPS, with a NumPy engine in the inference workers.

    Predictions of the deployment ``stock/idle`` wait for ever, since its pool has no worker.

    Args:
        folder: Where everything lies.
        certificate: Of the HTTPS service, with its key.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path]) -> None:
        self.folder, self.certificate = folder, certificate
        self.gates = folder / "gates"
        for made in (folder / "redis", self.gates):
            made.mkdir(parents=True)
        self.server = RedisServer(folder / "redis", "--appendonly", "no")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports = {"http": free_port(), "https": free_port()}
        self.urls = {scheme: f"{scheme}://127.0.0.1:{port}" for scheme, port in self.ports.items()}
        self.settings = self._settings()
        self.redis = open_redis(self.settings)
        artifacts = open_artifacts(self.settings)
        self.registry = ModelRegistry(artifacts, self.redis, self.settings)
        self.versions = {name: self.publish(name) for name in SIGNATURES}
        self._keys = ApiKeys(self.redis, self.settings)

    def key(self, account: str) -> str:
        """A new key of an account that may do anything."""
        return self._keys.create(account, "tests", ["admin"])[0]

    def start(self) -> None:
        """Starts the processes and waits until they answer."""
        folder = DataFolder(self.folder / "data")
        folder.make()
        shape = Shape(port=self.ports["http"], inference_workers=INFERENCE_WORKERS)
        found = {program.name: program for program in programs(self.settings, folder, shape)}
        secure = Shape(port=self.ports["https"])
        found["api-https"] = programs(self._settings(self.certificate), folder, secure)[-1]
        for name, program in found.items():
            self._start(name, program)
        names = {name for name in found if not name.startswith("api")}
        heartbeats = Heartbeats(self.redis, self.settings)
        self.wait(lambda: names <= {worker.name for worker in heartbeats.living()}, "the workers")
        for url in self.urls.values():
            self.wait(lambda url=url: self._answers(url), url)  # type: ignore[misc]
        # Deployed while its only worker lived, which then left.
        heartbeats.beat(WorkerInfo("idle", "inference", "idle", "nowhere", 1, ()))
        idle = {"name": "idle", "model": "stock/text", "version": self.versions["text"], "hardware": "idle"}
        made = self.call(self.key("stock"), "POST", "/v1/deployments", {**idle, "min_instances": 0, "max_instances": 0})
        assert made.status_code == 201, made.text
        heartbeats.leave("idle")

    def call(self, key: str, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Asks the HTTP service with a client that hides nothing."""
        headers = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return requests.request(method, self.urls["http"] + path, json=body, headers=headers, timeout=30)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes):
                logs = "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in self.folder.glob("*.log"))
                raise AssertionError(f"{what} did not come within {seconds} s\n{logs}")
            time.sleep(0.05)

    def start_api(self, name: str, **variables: str) -> str:
        """Starts another API over HTTP, with other settings, and returns its address."""
        port = free_port()
        settings = self._settings(**variables)
        self._start(f"api-{name}", programs(settings, DataFolder(self.folder / "data"), Shape(port=port))[-1])
        url = f"http://127.0.0.1:{port}"
        self.wait(lambda: self._answers(url), name)
        return url

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.redis.close()
        self.server.close()

    def _settings(self, certificate: tuple[Path, Path] | None = None, **more: str) -> Settings:
        variables = {
            "HEADRACE_DATA_DIR": str(self.folder / "data"),
            "HEADRACE_REDIS__URL": self.server.url,
            "HEADRACE_QUEUE__SWEEP_SECONDS": "0.2",
            "HEADRACE_WORKER__HEARTBEAT_SECONDS": "1",
            "HEADRACE_BATCHING__MAX_BATCH_ROWS": "8",
            "HEADRACE_INFERENCE__THREADS": "1",
            "HEADRACE_HTTP__THREADS": "96",
            "HEADRACE_QUEUE__ACCOUNT_MAX_ROWS": str(ROWS_OF_AN_ACCOUNT),
            "HEADRACE_HTTP__HEARTBEAT_SECONDS": "1",
            "HEADRACE_HTTP__KEEPALIVE_SECONDS": "0.4",
            **more,
            "HEADRACE_FILES__INLINE_OUTPUT_BYTES": "2000",
            # What the tests listen on: receivers of webhooks.
            "HEADRACE_OUTGOING__ALLOWED_NETWORKS": '["127.0.0.1/32"]',
        }
        if certificate:
            variables["HEADRACE_HTTP__TLS_CERTIFICATE"], variables["HEADRACE_HTTP__TLS_KEY"] = map(str, certificate)
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            return load_settings()

    def _start(self, name: str, program: Program) -> None:
        command = list(program.command)
        environment = dict(program.environment)
        if name.startswith("inference"):
            command[command.index("-A") + 1] = "stock_worker"
            paths = (str(Path(__file__).parent), environment.get("PYTHONPATH", ""))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            environment["TESTS_GATES"] = str(self.gates)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, env=environment, cwd=program.folder, stdout=log, stderr=log)
            )

    def publish(self, name: str, kind: str = "", alias: bool = True) -> str:
        """Publishes a version with the signature of a kind, that of its name unless given; returns its id."""
        file = self.folder / "model.keras"
        file.write_text(name)
        self.registry.ensure_model("stock", name)
        version = self.registry.publish(
            "stock",
            name,
            {"model.keras": file},
            created_at="2026-01-01T00:00:00.000Z",
            source="import",
            job_id="tests",
            signature=Signature.from_json(SIGNATURES[kind or name]),
            labels=("dark", "bright") if name == "image" else None,
        )
        if alias:
            self.registry.move_alias("stock", name, "production", version.id, "tests")
        return version.id

    def _answers(self, url: str) -> bool:
        try:
            return requests.get(url + "/readyz", timeout=5, verify=str(self.certificate[0])).ok
        except requests.ConnectionError:
            return False
