from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.jobs.claim import Taken
from shared.jobs.job import JobStatus
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper
from shared.settings import JobsSettings, Settings

Jobs = Callable[..., list[str]]
Maker = Callable[..., NewJob]
Messages = Callable[..., list[dict[str, Any]]]
Takes = Callable[..., Taken]


def test_a_batch_is_bound_by_rows_and_bytes(submit: Jobs, take: Takes) -> None:
    submit(3, rows=3)
    submit(1, rows=100)
    submit(2, input=b'"' + b"x" * 400 + b'"', queue="m2")

    assert [len(take(max_rows=8).jobs) for _ in range(3)] == [2, 1, 1]
    assert [len(take("m2", max_bytes=500).jobs) for _ in range(3)] == [1, 1, 0]


def test_a_take_says_whether_the_line_has_more(submit: Jobs, take: Takes) -> None:
    submit(3)

    assert [take(max_rows=2).has_more for _ in range(2)] == [True, False]


def test_no_job_is_taken_twice_by_workers_at_once(submit: Jobs, take: Takes) -> None:
    ids = submit(60)

    with ThreadPoolExecutor(8) as threads:
        batches = list(threads.map(lambda _: take(max_rows=7), range(12)))

    taken = [job.id for batch in batches for job in batch.jobs]
    assert sorted(taken) == sorted(ids)


def test_one_message_stands_for_any_number_of_jobs(submit: Jobs, messages: Messages) -> None:
    ids = submit(10)

    assert messages() == [{"pool": "predict.cpu", "shard": "a", "token": ids[0]}]


def test_a_take_that_leaves_work_rings_before_it_returns(submit: Jobs, take: Takes, messages: Messages) -> None:
    (first, *_) = submit(3)

    taken = take(max_rows=2, token=first)

    assert [message["token"] for message in messages()] == [first, taken.claim]


def test_the_last_take_rings_no_more(submit: Jobs, take: Takes, messages: Messages) -> None:
    (first,) = submit()

    take(token=first)

    assert len(messages()) == 1


def test_a_stale_message_puts_no_bell_away(redis: Redis, submit: Jobs, take: Takes) -> None:
    submit(3)
    bell = redis.get("headrace:{a}:bell:predict.cpu")

    take(max_rows=1, token="stale")

    assert redis.get("headrace:{a}:bell:predict.cpu") == bell


def test_no_message_carries_anything_of_a_job(redis: Redis, queue: JobQueue, submit: Jobs, take: Takes) -> None:
    submit(3, input=b'"secret-input"', model="secret/model", account="secret-account", idempotency_key="secret-key")
    queue.release(take(max_rows=1).claim)

    for name in redis.scan_iter("headrace:celery:*"):
        assert b"secret" not in redis.dump(name)


def test_a_deadline_of_the_caller_in_the_past_never_reaches_a_worker(
    redis: Redis, settings: Settings, jobs: JobStore, new_job: Maker, take: Takes, eventually: Callable[..., object]
) -> None:
    queue = JobQueue(redis, settings.model_copy(update={"jobs": JobsSettings(prediction_deadline_seconds=0.001)}))
    by_caller = queue.submit(new_job(deadline_seconds=0.001)).id
    by_default = queue.submit(new_job()).id

    eventually(lambda: (job := jobs.peek(by_default)) and jobs.now() > job.deadline)
    assert take().jobs == []

    called, old = jobs.peek(by_caller), jobs.peek(by_default)
    assert called is not None and (called.status, called.error_code) == (JobStatus.CANCELED, "E1401")
    assert old is not None and (old.status, old.error_code) == (JobStatus.FAILED, "E1402")


def test_a_record_that_is_lost_stops_neither_its_line_nor_the_sweeps(
    submit: Jobs, take: Takes, redis: Redis, settings: Settings, artifacts: ArtifactStore
) -> None:
    lost, held, waiting = submit(3)
    redis.delete(f"headrace:{{a}}:job:{lost}")
    taken = take(max_rows=1)
    assert [job.id for job in taken.jobs] == [held]
    redis.delete(f"headrace:{{a}}:job:{held}")
    redis.zadd("headrace:{a}:claims", {taken.claim: 0})
    redis.zadd("headrace:{a}:open", {lost: 0, held: 0})
    sweeper = Sweeper(redis, settings, artifacts)
    sweeper.reclaim()
    sweeper.expire()
    assert [job.id for job in take(max_rows=1).jobs] == [waiting]
