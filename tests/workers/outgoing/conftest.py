"""Fixtures for what goes out: an io worker's dispatcher, receivers that misbehave, and jobs that have a webhook."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.connections import Redis
from shared.http_client import lane_of
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outgoing import Outgoing
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.webhooks.secrets import WebhookSecrets
from tests.receivers import Behaviour, Receiver
from workers.outgoing.dispatcher import Dispatcher
from workers.outgoing.opening import open_client, open_dispatcher

POOL = "predict.cpu"
QUEUE = queue_of("v", POOL)


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
