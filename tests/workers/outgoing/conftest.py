"""Fixtures for what goes out: an io worker's dispatcher, receivers that misbehave, and jobs that have a webhook."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.artifacts import REFERENCE, ArtifactStore
from shared.connections import Redis
from shared.http_client import HttpClient, lane_of
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, fetched_path, queue_of
from shared.jobs.outgoing import Outgoing
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.settings import Settings
from shared.webhooks.secrets import WebhookSecrets
from tests.receivers import Behaviour, Receiver
from tests.shared.outbound.servers import Listener
from workers.outgoing.dispatcher import Dispatcher
from workers.outgoing.fetching import Fetcher
from workers.outgoing.opening import open_client, open_dispatcher

POOL = "predict.cpu"
QUEUE = queue_of("v", POOL)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)


@pytest.fixture
def with_webhooks(settings: Settings) -> Callable[..., Settings]:
    """The settings with others for webhooks, and loopback open."""

    def change(networks: tuple[str, ...] = ("127.0.0.0/8",), **fields: Any) -> Settings:
        quick = {"schedule_seconds": (0.0, *[0.05] * 9), "timeout_seconds": 5.0, **fields}
        return settings.model_copy(
            update={
                "webhooks": settings.webhooks.model_copy(update=quick),
                "outgoing": settings.outgoing.model_copy(update={"allowed_networks": networks}),
            }
        )

    return change


@pytest.fixture
def outgoing(redis: Redis, settings: Settings) -> Outgoing:
    return Outgoing(redis, settings)


@pytest.fixture
def secrets(redis: Redis, settings: Settings) -> WebhookSecrets:
    return WebhookSecrets(redis, settings)


@pytest.fixture
def start_dispatcher(
    redis: Redis, jobs: JobStore, artifacts: Any, with_webhooks: Callable[..., Settings]
) -> Iterator[Callable[..., Dispatcher]]:
    """Starts the dispatcher of an io worker."""
    started: list[Dispatcher] = []

    def start(settings: Settings | None = None) -> Dispatcher:
        settings = settings or with_webhooks()
        outputs = LargeOutputs(redis, settings, artifacts)
        started.append(open_dispatcher(redis, settings, jobs, outputs, open_client(redis, settings)))
        started[-1].start()
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.stop()
        dispatcher.join(5)


@pytest.fixture
def receive(start_dispatcher: Any) -> Iterator[Callable[..., Receiver]]:
    """Makes receivers; they end before the dispatcher, which would wait for those that hang."""
    made: list[Receiver] = []

    def make(behaviour: Behaviour, **facts: Any) -> Receiver:
        made.append(Receiver(behaviour, **facts))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def submit(queue: JobQueue) -> Callable[..., str]:
    """Submits a job with a webhook, and returns its id."""

    def make(url: str, *events: str, **facts: Any) -> str:
        new = NewJob(
            id=new_job_id(), kind=JobKind.PREDICTION, account="ada", key_id="k", queue=QUEUE, pool=POOL,
            input=b'{"x": 1}', model="ada/m", version="v", webhook=url, webhook_events=events or ("completed",),
            webhook_host=lane_of(url), **facts,
        )  # fmt: skip
        return queue.submit(new).id

    return make


@pytest.fixture
def take(queue: JobQueue) -> Callable[[], tuple[str, Any]]:
    """Takes all that waits, as a worker does."""

    def make() -> tuple[str, Any]:
        taken = queue.take(QUEUE, POOL, max_rows=100, max_bytes=1 << 25, hard_seconds=60, solo=True)
        return taken.claim, list(taken.jobs)

    return make


@pytest.fixture
def finish(queue: JobQueue, take: Callable[[], tuple[str, Any]]) -> Callable[[], None]:
    """Ends all that waits."""

    def end() -> None:
        while True:
            claim, taken = take()
            if not taken:
                return
            queue.settle(claim, [Outcome(job.id, job.attempt, b'{"label": "one"}') for job in taken])

    return end


@pytest.fixture
def registry(redis: Redis, settings: Settings, artifacts: ArtifactStore) -> ModelRegistry:
    return ModelRegistry(artifacts, redis, settings)


@pytest.fixture
def version(registry: ModelRegistry, tmp_path: Path) -> str:
    """A version whose file nobody loads here."""
    (tmp_path / "model.keras").write_bytes(b"weights")
    registry.ensure_model("ada", "m")
    spec = TensorSpec("image", TensorKind.IMAGE, "uint8", (8, 8, 3))
    facts = {"created_at": "2026-01-01T00:00:00.000Z", "source": "import", "job_id": "a" * 26}
    files = {"model.keras": tmp_path / "model.keras"}
    return registry.publish("ada", "m", files, signature=Signature(inputs=(spec,), outputs=(spec,)), **facts).id


@pytest.fixture
def start_fetcher(
    redis: Redis, settings: Settings, queue: JobQueue, jobs: JobStore, artifacts: ArtifactStore
) -> Iterator[Callable[..., Dispatcher]]:
    """Starts the dispatcher of an io worker that fetches too; loopback is open unless told otherwise."""
    started: list[tuple[Dispatcher, threading.Event]] = []

    def start(resolve: Any = None, webhooks: Mapping[str, Any] | None = None, **limits: Any) -> Dispatcher:
        fields = {"allowed_networks": ("127.0.0.1/32",), "fetch_timeout_seconds": 5.0, **limits}
        own = settings.model_copy(
            update={
                "outgoing": settings.outgoing.model_copy(update=fields),
                "webhooks": settings.webhooks.model_copy(update=webhooks or {}),
            }
        )
        client = HttpClient(own, resolve=resolve) if resolve else HttpClient(own)
        stopping = threading.Event()
        own_queue, own_registry = JobQueue(redis, own, artifacts), ModelRegistry(artifacts, redis, own)
        fetcher = Fetcher(own, client, Outgoing(redis, own), own_queue, jobs, artifacts, own_registry, stopping)
        outputs = LargeOutputs(redis, own, artifacts)
        started.append((open_dispatcher(redis, own, jobs, outputs, client, {"fetch": fetcher.run}), stopping))
        started[-1][0].start()
        return started[-1][0]

    yield start
    for dispatcher, stopping in started:
        stopping.set()
        dispatcher.stop()
        dispatcher.join(5)


@pytest.fixture
def serve(start_fetcher: Any) -> Iterator[Callable[..., Listener]]:
    """Makes servers; they end before the fetcher, which would wait for those that are slow."""
    made: list[Listener] = []

    def make(speak: Callable[..., None]) -> Listener:
        made.append(Listener())
        made[-1].speak = functools.partial(speak, made[-1])
        return made[-1]

    yield make
    for listener in made:
        listener.close()


@pytest.fixture
def submit_urls(queue: JobQueue, version: str) -> Callable[..., str]:
    """Submits a job whose images are URLs, as the door does, and returns its id."""

    def make(*urls: str, **facts: Any) -> str:
        id_ = new_job_id()
        places = [REFERENCE + fetched_path(id_, number) for number in range(len(urls))]
        new = NewJob(
            id=id_, kind=JobKind.PREDICTION, account="ada", key_id="k", queue=QUEUE, pool=POOL, rows=len(urls),
            input=orjson.dumps({"image": places if len(places) > 1 else places[0]}), model="ada/m",
            version=version, details={"sources": dict(zip(places, urls, strict=True))}, fetch_host=lane_of(urls[0]),
            **facts,
        )  # fmt: skip
        return queue.submit(new).id

    return make
