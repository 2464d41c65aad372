import base64
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.connections import Redis
from shared.jobs.claim import Outcome, Taken
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from tests.conftest import RedisServer
from tests.shared.jobs.wire import Wire, text

QUEUE, POOL = "m1", "predict.cpu"


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    """Makes a job as the API would; any field may be given."""
    numbers = itertools.count(1)

    def make(**fields: Any) -> NewJob:
        number = next(numbers)
        usual: dict[str, Any] = {
            "id": new_job_id(),
            "kind": JobKind.PREDICTION,
            "account": "ann",
            "key_id": "k1",
            "queue": QUEUE,
            "pool": POOL,
            "input": json.dumps({"number": number}).encode(),
            "model": "ann/digits",
            "version": "v1",
        }
        return NewJob(**(usual | fields))

    return make


@pytest.fixture
def submit(queue: JobQueue, new_job: Callable[..., NewJob]) -> Callable[..., list[str]]:
    """Submits jobs; returns their ids."""

    def some(count: int = 1, **fields: Any) -> list[str]:
        return [queue.submit(new_job(**fields)).id for _ in range(count)]

    return some


@pytest.fixture
def take(queue: JobQueue) -> Callable[..., Taken]:
    """Takes a batch of at most 64 rows."""

    def batch(line: str = QUEUE, **options: Any) -> Taken:
        usual: dict[str, Any] = {"max_rows": 64, "max_bytes": 1 << 20, "hard_seconds": 60, "solo": True}
        return queue.take(line, POOL, **(usual | options))

    return batch


@pytest.fixture
def messages(redis: Redis) -> Callable[..., list[dict[str, Any]]]:
    """The messages that wait in a pool's Celery queue: their keyword arguments, oldest first."""

    def waiting(pool: str = POOL) -> list[dict[str, Any]]:
        bodies = [json.loads(message)["body"] for message in redis.lrange(f"headrace:celery:{pool}", 0, -1)]
        return [json.loads(base64.b64decode(body))[1] for body in reversed(bodies)]

    return waiting


@pytest.fixture
def check(redis_server: RedisServer) -> Iterator[Callable[[], list[str]]]:
    """Recomputes everything that follows from the records; what is wrong."""
    wire = Wire(redis_server.port)

    def wrong() -> list[str]:
        found: list[str] = text(wire.do(*wire.script("check", 0, 64, 1 << 20, 30 * 86_400_000, 86_400_000)))
        return found

    yield wrong
    wire.close()


@pytest.fixture
def outcomes() -> Callable[..., list[Outcome]]:
    """Success for every job of a batch, each with its own input as its output."""

    def all_of(taken: Taken) -> list[Outcome]:
        return [Outcome(job.id, job.attempt, output=job.input) for job in taken.jobs]

    return all_of
