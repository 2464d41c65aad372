from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import open_artifacts
from shared.connections import open_redis
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import RedisSettings, Settings
from shared.webhooks.signing import message_id
from tests.conftest import RedisServer
from tests.receivers import Receiver, answer
from workers.outgoing.opening import open_client, open_dispatcher

QUEUE = queue_of("v", "predict.cpu")


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    """A server with an append-only file."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes")
    yield server
    server.kill()


def test_a_server_killed_between_the_end_of_jobs_and_their_webhooks_loses_none_of_them(
    durable: RedisServer, with_webhooks: Callable[..., Settings], tmp_path: Path, eventually: Any
) -> None:
    settings = with_webhooks(lease_seconds=1.0).model_copy(update={"redis": RedisSettings(url=durable.url)})
    redis, artifacts = open_redis(settings), open_artifacts(settings)
    queue, jobs = JobQueue(redis, settings, artifacts), JobStore(redis, settings, artifacts)
    receiver = Receiver(answer(200))
    client = open_client(redis, settings)
    dispatcher = open_dispatcher(redis, settings, jobs, LargeOutputs(redis, settings, artifacts), client)

    def end_jobs(count: int) -> set[str]:
        ids = [new_job_id() for _ in range(count)]
        for id_ in ids:
            queue.submit(
                NewJob(
                    id=id_,
                    kind=JobKind.PREDICTION,
                    account="ada",
                    key_id="k",
                    queue=QUEUE,
                    pool="predict.cpu",
                    input=b"{}",
                    webhook=receiver.url,
                    webhook_events=("completed",),
                    webhook_host=receiver.address,
                )  # fmt: skip
            )
        taken = queue.take(QUEUE, "predict.cpu", max_rows=100, max_bytes=1 << 20, hard_seconds=60, solo=True)
        queue.settle(taken.claim, [Outcome(job.id, job.attempt, b"1") for job in taken.jobs])
        return {message_id(id_, "completed") for id_ in ids}

    try:
        expected = end_jobs(10)
        durable.kill()
        durable.start()
        dispatcher.start()
        eventually(lambda: set(receiver.ids()) == expected)
        expected |= end_jobs(30)
        durable.kill()
        durable.start()
        eventually(lambda: set(receiver.ids()) == expected)
    finally:
        dispatcher.stop()
        receiver.close()
        dispatcher.join(5)
        redis.close()
