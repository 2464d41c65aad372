import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import JobError, TooManyRequests, Unavailable
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind
from shared.jobs.new_job import NewJob
from shared.jobs.paces import Paces
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper
from shared.settings import QueueSettings, RedisSettings, Settings
from tests.conftest import RedisServer
from tests.shared.jobs.wire import Wire, text

Eventually = Callable[..., object]
Maker = Callable[..., NewJob]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill and fill, with an append-only file as in production."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "everysec")
    yield server
    server.close()


@pytest.fixture
def settings(own_server: RedisServer, tmp_path: Path) -> Settings:
    return Settings(
        redis=RedisSettings(url=own_server.url), data_dir=tmp_path / "data", queue=QueueSettings(lease_seconds=0.05)
    )


def take(queue: JobQueue, line: str = "m1", **options: Any) -> Any:
    usual: dict[str, Any] = {"max_rows": 64, "max_bytes": 1 << 20, "hard_seconds": 60, "solo": True}
    return queue.take(line, "predict.cpu", **(usual | options))


def check(server: RedisServer) -> list[str]:
    wire = Wire(server.port)
    found: list[str] = text(wire.do(*wire.script("check", 0, 64, 1 << 20, 30 * 86_400_000, 86_400_000)))
    wire.close()
    return found


def fill(redis: Redis) -> None:
    """No write that needs memory is accepted from here on."""
    redis.config_set("maxmemory", 1)


def test_a_killed_server_has_everything_when_it_comes_back(
    own_server: RedisServer, redis: Redis, queue: JobQueue, jobs: JobStore, new_job: Maker, eventually: Eventually
) -> None:
    ids = [queue.submit(new_job(account=account)).id for account in ("ann", "bob") for _ in range(30)]
    settled = take(queue, max_rows=10)
    queue.settle(settled.claim, [Outcome(job.id, job.attempt, output=job.input) for job in settled.jobs])
    running = take(queue, max_rows=10)
    queue.progress(running.claim, running.jobs[0].id, 1, facts='{"step": 3}', log="line\n", checkpoint=True)
    queue.release(take(queue, max_rows=10).claim)
    for id_ in ids[-5:]:
        queue.cancel(id_)
    before = redis.execute_command("DEBUG", "DIGEST")

    own_server.kill()
    own_server.start()

    assert redis.execute_command("DEBUG", "DIGEST") == before
    assert check(own_server) == []
    answers = queue.settle(running.claim, [Outcome(job.id, job.attempt, output=b"1") for job in running.jobs])
    assert set(answers) == {"ok"}
    while (taken := take(queue)).jobs:
        queue.settle(taken.claim, [Outcome(job.id, job.attempt, output=b"1") for job in taken.jobs])
    assert all((job := jobs.get(id_)) is not None and job.is_terminal for id_ in ids)
    assert check(own_server) == []


def test_a_server_that_dies_between_take_and_settle_loses_no_job(
    own_server: RedisServer, redis: Redis, settings: Settings, artifacts: ArtifactStore, queue: JobQueue,
    jobs: JobStore, new_job: Maker, eventually: Eventually,
) -> None:  # fmt: skip
    ids = [queue.submit(new_job()).id for _ in range(5)]
    take(queue)
    own_server.kill()
    own_server.start()

    eventually(lambda: Sweeper(redis, settings, artifacts).reclaim())
    while (taken := take(queue, "m1!")).jobs:
        queue.settle(taken.claim, [Outcome(job.id, job.attempt, output=b"1") for job in taken.jobs])

    assert [(job.status, job.attempt) for id_ in ids if (job := jobs.get(id_))] == [("succeeded", 2)] * 5


def test_a_full_server_refuses_new_jobs_and_ends_those_it_has(
    own_server: RedisServer, redis: Redis, settings: Settings, artifacts: ArtifactStore, queue: JobQueue,
    jobs: JobStore, new_job: Maker, eventually: Eventually,
) -> None:  # fmt: skip
    ids = [queue.submit(new_job()).id for _ in range(12)]
    redis.script_flush()
    fill(redis)

    with pytest.raises(TooManyRequests) as refusal:
        queue.submit(new_job())
    assert refusal.value.retry_after_seconds >= 1

    first = take(queue, max_rows=2)
    assert queue.renew(first.claim) == {job.id for job in first.jobs}
    assert queue.progress(first.claim, first.jobs[0].id, 1, facts='{"step": 1}', log="line\n", checkpoint=True)
    done = [Outcome(job.id, job.attempt, output=b'"' + b"x" * 10_000 + b'"') for job in first.jobs]
    assert queue.settle(first.claim, done) == ["ok", "ok"]
    assert queue.cancel(ids[2]) == "starting"
    assert queue.release(take(queue, max_rows=1).claim) == [ids[3]]
    lost = take(queue, max_rows=3)
    eventually(lambda: lost.claim in Sweeper(redis, settings, artifacts).reclaim())
    assert queue.fail_waiting("m1", JobError("gone", "E1202")) == 9
    assert queue.delete(ids[2])
    assert [job.status for id_ in ids if (job := jobs.get(id_))] == ["succeeded"] * 2 + ["failed"] * 9
    assert check(own_server) == []

    redis.config_set("maxmemory", 0)
    assert queue.submit(new_job()).is_new


def test_a_wake_up_that_a_full_server_swallowed_is_repaired(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, queue: JobQueue, new_job: Maker
) -> None:
    first, *_ = [queue.submit(new_job()).id for _ in range(3)]
    fill(redis)
    redis.delete("headrace:celery:predict.cpu")
    assert take(queue, max_rows=1, token=first).has_more

    redis.config_set("maxmemory", 0)
    Sweeper(redis, settings, artifacts).nudge()

    assert redis.llen("headrace:celery:predict.cpu") == 1


def test_a_large_input_refused_by_a_full_server_is_not_kept(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, queue: JobQueue, new_job: Maker
) -> None:
    large = b'"' + b"x" * settings.jobs.inline_input_bytes + b'"'
    made = new_job(input=large)
    queue.submit(made)
    fill(redis)

    for new in (new_job(input=large), made):
        with pytest.raises(TooManyRequests):
            queue.submit(new)

    assert artifacts.names("inputs") == [made.id]


def test_without_a_server_every_call_says_so_at_once_and_works_again_afterwards(
    own_server: RedisServer, redis: Redis, settings: Settings, artifacts: ArtifactStore, queue: JobQueue,
    jobs: JobStore, new_job: Maker,
) -> None:  # fmt: skip
    id_ = queue.submit(new_job()).id
    job = jobs.get(id_)
    assert job is not None
    sweeper = Sweeper(redis, settings, artifacts)
    calls: list[Callable[[], object]] = [
        lambda: queue.submit(new_job()),
        lambda: queue.cancel(id_),
        lambda: queue.delete(id_),
        lambda: queue.watch(id_, "headrace:wake:1"),
        lambda: queue.lines("predict.cpu", ""),
        lambda: take(queue),
        lambda: queue.renew("c"),
        lambda: queue.settle("c", [Outcome(id_, 1, output=b"1")]),
        lambda: queue.progress("c", id_, 1, facts="{}", log="", checkpoint=False),
        lambda: queue.release("c"),
        lambda: Paces(redis, settings).of_queue("m1"),
        lambda: queue.fail_waiting("m1", JobError("gone")),
        lambda: jobs.get(id_),
        lambda: jobs.peek(id_),
        lambda: jobs.now(),
        lambda: jobs.place(job),
        lambda: jobs.list("ann", list(JobKind)),
        lambda: sweeper.run_once(),
        lambda: sweeper.reclaim(),
        lambda: sweeper.expire(),
        lambda: sweeper.nudge(),
    ]
    own_server.kill()

    for number, call in enumerate(calls):
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            call()
        assert time.monotonic() - begun < 2, number

    own_server.start()
    assert queue.submit(new_job()).is_new
    assert queue.cancel(id_) == "starting"


def test_a_message_that_cannot_be_sent_fails_no_submission(
    redis: Redis, queue: JobQueue, new_job: Maker, settings: Settings, artifacts: ArtifactStore
) -> None:
    redis.set("headrace:celery:predict.cpu", "not a list")
    redis.set("headrace:celery:_kombu.binding.predict.cpu", "not a set")

    submitted = queue.submit(new_job())

    assert submitted.is_new
    redis.delete("headrace:celery:predict.cpu", "headrace:celery:_kombu.binding.predict.cpu")
    Sweeper(redis, settings, artifacts).nudge()
    assert redis.llen("headrace:celery:predict.cpu") == 1
