"""A service of several processes of each kind, which a test stops and starts again as an operator would."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import requests

from tests.promises.conftest import HERE, MODEL, Stack, free_port

CELERY = ("--without-mingle", "--without-gossip", "--without-heartbeat", "-l", "info")
ONE_CHILD = ("-P", "prefork", "-c", "1", "--max-tasks-per-child")
KINDS = {
    "inference": ("numpy_worker", "predict.cpu", ("-P", "solo")),
    "training": ("workers", "train.cpu", (*ONE_CHILD, "1")),
    "preparing": ("workers", "prepare.cpu", (*ONE_CHILD, "20")),
    "io": ("workers", "io", ("-P", "threads", "-c", "4", "-B")),
}
GRACE_SECONDS = 15.0
"""How long a process may take to stop; half of what docker-compose.yml gives it, for a machine that is busy."""


class Site(Stack):
    """The service."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, **environment)
        self.members: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def launch(self, name: str) -> "subprocess.Popen[bytes]":
        """Starts a member, ``api-1`` or ``inference-2``; the part before the dash is its kind."""
        kind = name.partition("-")[0]
        if kind == "api":
            port = self.ports.setdefault(name, free_port())
            command = (
                "granian", "--interface", "wsgi", "--factory", "api:create_app", "--host", "127.0.0.1",
                "--port", str(port), "--workers", "1", "--blocking-threads", "64", "--backpressure", "128", "--no-ws",
                "--workers-kill-timeout", "10", "--log-level", "warning",
            )  # fmt: skip
        else:
            app, queue, options = KINDS[kind]
            command = ("celery", "-A", app, "worker", "-Q", queue, "-n", f"{name}@%h", *options, *CELERY)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *command],
                env={**self.environment, "HEADRACE_WORKER__NAME": name},
                cwd=HERE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        self.members[name] = process
        return process

    def start_all(self, *names: str) -> None:
        """Starts members and waits until each serves."""
        for name in names:
            self.launch(name)
        for name in names:
            self.wait_for(name)

    def wait_for(self, name: str) -> None:
        pid = self.members[name].pid
        if name.startswith("api"):
            self.wait(lambda: self._is_up(self.address(name)), name)
            self.url = self.url or self.address(name)
        else:
            self.wait(lambda: any(info.pid == pid for info in self.living()), name, 90)

    def address(self, api: str) -> str:
        return f"http://127.0.0.1:{self.ports[api]}"

    def stop(self, name: str) -> float:
        """Asks a member to stop, and says how many seconds it took; what does not end well in time fails the test."""
        began = time.monotonic()
        process = self.members[name]
        process.send_signal(signal.SIGTERM)
        status = process.wait(GRACE_SECONDS)
        assert status == 0, (name, status, (self.folder / f"{name}.log").read_text()[-2000:])
        # What it started is gone as well.
        self.wait(lambda: not _group(process.pid), f"the children of {name}", 5)
        return time.monotonic() - began

    def restart(self, name: str) -> float:
        seconds = self.stop(name)
        self.launch(name)
        self.wait_for(name)
        return seconds

    def push_dataset(self, name: str, count: int = 240) -> str:
        """Uploads pictures of noise under two labels; the id of the job that makes a data set of them."""
        file, random = io.BytesIO(), np.random.default_rng(zlib.crc32(name.encode()))
        labels = np.array(["bird", "cat"])[np.arange(count) % 2]
        np.savez(file, x=random.integers(0, 255, (count, 16, 16, 1), dtype=np.uint8), y=labels)
        reply = requests.post(
            f"{self.url}/v1/datasets",
            data={"name": name},
            files={"file": (f"{name}.npz", file.getvalue())},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
        )
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def train(self, dataset: str, epochs: int) -> str:
        """Starts a training; the id of its job."""
        recipe = "/v1/models/headrace/image-classifier"
        version = self.call("GET", recipe).json()["latest_version"]["id"]
        options = {"dataset": dataset, "epochs": epochs, "early_stopping": 0, "seed": 1}
        body = {"destination": "acme/blobs", "input": options}
        reply = self.call("POST", f"{recipe}/versions/{version}/trainings", body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    @staticmethod
    def _is_up(address: str) -> bool:
        try:
            return requests.get(f"{address}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def _group(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader and ") Z" not in (entry / "stat").read_text():
                    found.append(int(entry.name))
            except (OSError, ProcessLookupError):
                continue
    return found


class Callers:
    """Clients behind two APIs: what one refuses to connect is sent to the other, as a load balancer does."""

    def __init__(self, site: Site, hook: str, count: int = 6) -> None:
        self._site, self._hook = site, hook
        self._addresses = [site.address(name) for name in site.ports]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.replies: Counter[str] = Counter()
        self.accepted: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            value = number * 1_000_000 + turn
            body: dict[str, Any] = {"input": {"x": [value, 0]}}
            if turn % 3 == 0:
                body |= {"webhook": self._hook, "webhook_events_filter": ["completed"]}
            held = {"Prefer": "wait=20"} if turn % 2 else {}
            self._post(turn % 2, body, value, held)
            time.sleep(0.05)

    def _post(self, first: int, body: dict[str, Any], value: int, held: dict[str, str]) -> None:
        headers = {"Authorization": f"Bearer {self._site.key}", "Content-Type": "application/json", **held}
        for address in (self._addresses[first], self._addresses[1 - first]):
            try:
                reply = requests.post(
                    f"{address}/v1/models/{MODEL}/predictions", data=json.dumps(body), headers=headers, timeout=60
                )
            except requests.ConnectionError as error:
                if "refused" in str(error).lower():
                    continue
                self._count(f"dropped: {str(error)[-80:]}")
                return
            self._count(str(reply.status_code))
            if reply.status_code == 201:
                with self._lock:
                    self.accepted[reply.json()["id"]] = value
            return
        self._count("refused by both")

    def _count(self, what: str) -> None:
        with self._lock:
            self.replies[what] += 1
