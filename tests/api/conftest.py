"""Fixtures for the HTTP service: an application on the tests' server, and clients with keys of two accounts."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from shared.api_keys import ApiKeys
from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.datasets.dataset import Dataset, Split
from shared.datasets.store import DatasetStore
from shared.jobs.claim import Outcome, TakenJob
from shared.jobs.job import JobKind
from shared.jobs.new_job import queue_of
from shared.jobs.queue import JobQueue
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import Settings
from tests.api.conformity import hold_to_description


@dataclass(frozen=True)
class Server:
    """A running service."""

    url: str
    process: "subprocess.Popen[bytes]"


CLASSIFIER = Signature(
    inputs=(TensorSpec("image", TensorKind.IMAGE, "uint8", (32, 32, 3)),),
    outputs=(TensorSpec("scores", TensorKind.CATEGORY, "float32", (2,)),),
)
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def keys(redis: Redis, settings: Settings) -> ApiKeys:
    return ApiKeys(redis, settings)


@pytest.fixture
def make_key(keys: ApiKeys) -> Callable[..., str]:
    """Makes a key and returns its text."""

    def make(account: str = "ada", scopes: tuple[str, ...] = ("admin",), **facts: Any) -> str:
        return keys.create(account, "test", scopes, **facts)[0]

    return make


@pytest.fixture
def api_key(make_key: Callable[..., str]) -> str:
    return make_key()


@pytest.fixture
def app(redis: Redis, settings: Settings) -> Iterator[Flask]:
    app = create_app(settings, sweeps=False)
    app.testing = True
    hold_to_description(app)
    yield app
    services = app.extensions["headrace"]
    services.waiting.stop()
    services.redis.close()


@pytest.fixture
def client_of(app: Flask) -> Callable[[str], FlaskClient]:
    """Makes a client that sends a key."""

    def make(key: str) -> FlaskClient:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    return make


@pytest.fixture
def client(client_of: Callable[[str], FlaskClient], api_key: str) -> FlaskClient:
    return client_of(api_key)


@pytest.fixture
def anonymous(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def registry(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> ModelRegistry:
    return ModelRegistry(artifacts, redis, settings)


@pytest.fixture
def publish(registry: ModelRegistry, tmp_path: Path) -> Callable[..., ModelVersion]:
    """Publishes a version with a file that is no network, since nobody loads it here."""

    def make(
        signature: Signature = CLASSIFIER, name: str = "digits", content: bytes = b"weights", **fields: Any
    ) -> ModelVersion:
        registry.ensure_model("ada", name)
        file = tmp_path / "model.keras"
        file.write_bytes(content)
        facts = {"created_at": "2026-01-01T00:00:00.000Z", "source": "import", "job_id": "a" * 26, **fields}
        labels = ("zero", "one") if signature.is_classifier else None
        return registry.publish("ada", name, {"model.keras": file}, signature=signature, labels=labels, **facts)

    return make


@pytest.fixture
def version(publish: Callable[..., ModelVersion], registry: ModelRegistry) -> ModelVersion:
    """A version of ``ada/digits`` in production."""
    made = publish()
    registry.move_alias("ada", "digits", "production", made.id, "ada")
    return made


@pytest.fixture
def take(queue: JobQueue, settings: Settings) -> Callable[..., tuple[str, list[TakenJob]]]:
    """Takes what waits in a queue, as a worker does."""

    def make(line: str, pool: str = "predict.cpu") -> tuple[str, list[TakenJob]]:
        taken = queue.take(queue_of(line, pool), pool, max_rows=64, max_bytes=1 << 25, hard_seconds=60, solo=True)
        return taken.claim, list(taken.jobs)

    return make


@pytest.fixture
def finish(take: Callable[..., tuple[str, list[TakenJob]]], queue: JobQueue) -> Callable[..., int]:
    """Ends everything that waits in a queue with one output; returns how many jobs that were."""

    def make(line: str, output: bytes = b'{"label": "one"}', pool: str = "predict.cpu") -> int:
        claim, taken = take(line, pool)
        queue.settle(claim, [Outcome(job.id, job.attempt, output) for job in taken])
        return len(taken)

    return make


@pytest.fixture
def count_jobs(redis: Redis) -> Callable[..., int]:
    """How many jobs of a kind an account has."""

    def count(account: str = "ada", kind: JobKind = JobKind.PREDICTION) -> int:
        return int(redis.zcard(f"headrace:{{a}}:list:{account}:{kind}"))

    return count


@pytest.fixture
def dataset(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> Dataset:
    """An empty data set called ``digits``."""
    store = DatasetStore(artifacts, redis, settings)
    splits = {name: Split((1, 1), ()) for name in ("train", "validation", "test")}
    made = Dataset(
        digest="d" * 64,
        labels=("a", "b"),
        splits=splits,
        files={},
        channels=3,
        image_shape=(8, 8, 3),
        is_encoded=False,
        seed=0,
        fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
        created_at="2026-01-01T00:00:00.000Z",
    )
    store.publish(made)
    store.name("digits", made.digest, "a" * 26)
    return made


@pytest.fixture
def server(settings: Settings, redis: Redis, tmp_path: Path) -> Iterator[Server]:
    """The service as it is run, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "HEADRACE_REDIS__URL": settings.redis.url,
        "HEADRACE_DATA_DIR": str(settings.data_dir),
        "HEADRACE_HTTP__THREADS": "32",
    }
    command = [sys.executable, "-m", "granian", "--factory", "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--blocking-threads", "32", "--no-ws", "api:create_app"]
    with (tmp_path / "granian.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=log, stderr=log, cwd=Path(__file__).parents[2]
        )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 30
    while True:
        try:
            requests.get(f"{url}/readyz", timeout=5).raise_for_status()
            break
        except requests.RequestException:
            assert time.monotonic() < until and process.poll() is None, (tmp_path / "granian.log").read_text()
            time.sleep(0.05)
    yield Server(url, process)
    process.terminate()
    process.wait(20)
