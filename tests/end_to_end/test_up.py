import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from cli.data_folder import DataFolder, with_redis_url
from cli.processes import RunFile, is_alive, members
from shared.connections import open_redis
from shared.heartbeats import Heartbeats
from shared.settings import Settings

WORKERS = ["inference-1", "io-1", "preparing-1", "training-1"]


class Up:
    """``headrace up`` as a process, over one data folder."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.folder = DataFolder(root)
        self.output = root.with_name(root.name + ".out")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cli", *arguments, "--data-dir", str(self.folder.root)]

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command("up", "--port", "0"), stdout=output, stderr=output, env=self.environment
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=60, env=self.environment, check=False
        )

    def is_announced(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        return self.folder.address.exists() and "Ready after" in self.output.read_text()

    def get(self, path: str) -> requests.Response:
        key = self.folder.api_key.read_text().strip()
        url = self.folder.address.read_text().strip() + path
        return requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=10)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - begun

    def workers(self) -> dict[str, int]:
        url = self.folder.redis_url.read_text()
        settings = with_redis_url(Settings(data_dir=self.folder.root), url)
        with open_redis(settings) as redis:
            return {worker.name: worker.pid for worker in Heartbeats(redis, settings).living()}


def processes_of(folder: Path) -> list[int]:
    """Every process that was started for a data folder, whatever session it is in."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HEADRACE_DATA_DIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.fixture
def make_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def make(**environment: str) -> Up:
        made.append(Up(tmp_path / f"data-{len(made)}", **environment))
        return made[-1]

    yield make
    for up in made:
        if up.process is not None and up.process.poll() is None:
            up.stop()


def test_up_serves_refuses_a_second_one_and_leaves_no_process_behind(
    make_up: Callable[..., Up], eventually: Callable[..., object]
) -> None:
    up = make_up()
    up.start()
    eventually(up.is_announced, seconds=60)
    assert sorted(up.workers()) == WORKERS
    assert up.get("/v1/account").json()["username"]
    assert stat.S_IMODE(up.folder.api_key.stat().st_mode) == 0o600
    records = RunFile(up.folder.run_file).read()
    assert {record.name for record in records} == {"redis", "api", "guardian", *WORKERS}

    second = up.run("up")
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "already runs" in second.stderr

    listed = up.run("models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert any(model["owner"] == "headrace" for model in json.loads(listed.stdout))

    assert up.stop(signal.SIGINT) < 10
    assert up.process is not None and up.process.returncode == 0
    assert not any(members(record) for record in records)
    assert not up.folder.address.exists()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["as it begins", "between its steps", "while its processes are frozen"])
def test_up_stopped_in_a_training_ends_within_ten_seconds_and_leaves_no_process(
    moment: str, make_up: Callable[..., Up], tmp_path: Path, eventually: Callable[..., object]
) -> None:
    up = make_up()
    up.start()
    eventually(up.is_announced, seconds=60)
    file = tmp_path / "noise.npz"
    np.savez(file, x=np.random.default_rng(1).integers(0, 255, (512, 28, 28), np.uint8), y=np.arange(512) % 4)
    pushed = up.run("datasets", "push", str(file), "--name", "noise", "--json")
    assert pushed.returncode == 0, pushed.stderr
    trained = up.run(
        "train", "--dataset", "noise", "--destination", "me/noise", "--epochs", "1000", "--detach", "--json"
    )
    assert trained.returncode == 0, trained.stderr

    def is_under_way() -> bool:
        job = up.get(f"/v1/jobs/{json.loads(trained.stdout)['id']}").json()
        assert job["status"] in ("starting", "processing"), job
        return job["status"] == "processing" if moment == "as it begins" else "step" in (job.get("progress") or {})

    eventually(is_under_way, seconds=120)
    records = RunFile(up.folder.run_file).read()
    worker = next(record for record in records if record.name == "training-1")
    assert len(members(worker)) > 1  # what computes is a child
    assert set(members(worker)) <= set(processes_of(up.folder.root))
    if moment == "while its processes are frozen":
        for pid in members(worker):
            os.kill(pid, signal.SIGSTOP)

    assert up.stop(signal.SIGINT) < 10
    assert up.process is not None and up.process.returncode == 0, up.output.read_text()
    assert not any(members(record) for record in records)
    assert processes_of(up.folder.root) == []


def test_up_killed_with_9_leaves_nothing_and_starts_again_on_the_same_data(
    make_up: Callable[..., Up], eventually: Callable[..., object]
) -> None:
    up = make_up()
    up.start()
    eventually(up.is_announced, seconds=60)
    key = up.folder.api_key.read_text()
    records = RunFile(up.folder.run_file).read()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    up.output.unlink()
    up.folder.address.unlink()
    up.start()
    eventually(up.is_announced, seconds=60)
    assert not any(is_alive(record) or members(record) for record in records)
    assert up.folder.api_key.read_text() == key
    assert up.get("/v1/account").ok


def test_up_starts_again_what_is_killed(make_up: Callable[..., Up], eventually: Callable[..., object]) -> None:
    up = make_up()
    up.start()
    eventually(up.is_announced, seconds=60)
    before = up.workers()
    victims = {record.name: record for record in RunFile(up.folder.run_file).read() if record.name in ("api", "redis")}
    for pid in (before["inference-1"], *(record.pid for record in victims.values())):
        os.kill(pid, signal.SIGKILL)

    def is_whole_again() -> bool:
        try:
            after = up.workers()
            is_ready = up.get("/readyz").ok and up.get("/v1/account").ok
        except Exception:
            return False
        return is_ready and sorted(after) == WORKERS and after["inference-1"] != before["inference-1"]

    eventually(is_whole_again, seconds=60)
    assert "api was ended by SIGKILL; it starts again" in up.output.read_text()
    assert up.stop() < 10


@pytest.mark.long
def test_data_sets_in_a_row_do_not_wait_for_a_process_each(
    make_up: Callable[..., Up], tmp_path: Path, eventually: Callable[..., object]
) -> None:
    up = make_up()
    up.start()
    eventually(up.is_announced, seconds=60)
    worker = RunFile(up.folder.run_file).find("preparing-1")
    assert worker is not None
    children: list[set[int]] = []
    for number in range(3):
        file = tmp_path / f"{number}.npz"
        np.savez(file, x=np.full((8, 4, 4), number, np.uint8), y=np.arange(8) % 2)
        pushed = up.run("datasets", "push", str(file), "--name", f"set-{number}", "--json")
        assert pushed.returncode == 0, pushed.stderr
        assert number == 0 or json.loads(pushed.stdout)["metrics"]["queue_time"] < 2
        children.append({pid for pid in members(worker) if pid != worker.pid})
    assert children[0] and children[0] == children[1] == children[2]


def test_up_uses_the_server_that_the_environment_names_and_starts_none(
    make_up: Callable[..., Up], redis_url: str, redis: object, eventually: Callable[..., object]
) -> None:
    up = make_up(HEADRACE_REDIS__URL=redis_url)
    up.folder.make()
    up.folder.api_key.write_text("hr_" + "x" * 43)  # of another server, so this one does not know it
    up.start()
    eventually(up.is_announced, seconds=60)
    assert {record.name for record in RunFile(up.folder.run_file).read()} == {"api", "guardian", *WORKERS}
    assert not up.folder.redis_url.exists()
    assert up.get("/v1/account").ok
    assert up.stop() < 10


def test_up_refuses_a_port_that_is_taken(make_up: Callable[..., Up], redis_url: str) -> None:
    up = make_up()
    port = redis_url.rpartition(":")[2].partition("/")[0]
    refused = up.run("up", "--port", port)
    assert refused.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in refused.stderr
    assert refused.stderr.count("\n") == 1
