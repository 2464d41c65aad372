import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.connections import Redis
from shared.errors import version_gone
from shared.jobs.job import SCHEMA, JobStatus
from shared.jobs.new_job import queue_of
from shared.jobs.outgoing import Outgoing
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import Settings

Jobs = Callable[..., list[str]]
GONE, OTHER = queue_of("gone", "predict.cpu"), queue_of("other", "predict.cpu")


@pytest.fixture
def open_of(redis: Redis) -> Callable[[list[str]], list[str]]:
    def those(ids: list[str]) -> list[str]:
        return [id_ for id_ in ids if redis.zscore("headrace:{a}:open", id_) is not None]

    return those


def test_a_version_that_goes_away_fails_its_held_jobs_too_whoever_fetches_for_them(
    redis: Redis, settings: Settings, queue: JobQueue, jobs: JobStore, submit: Jobs, open_of: Any, check: Any
) -> None:
    hook = {"webhook": "https://a.example", "webhook_host": "a.example:443", "webhook_events": ("completed",)}
    submit(20, queue=OTHER, **hook)
    for id_ in submit(20, queue=OTHER, **hook):
        queue.cancel(id_)  # so that the lane has other work as well
    held = [id_ for host in "abc" for id_ in submit(40, queue=GONE, fetch_host=f"{host}.example:443")]
    on_gpu = submit(queue=queue_of("gone", "predict.gpu"), pool="predict.gpu", fetch_host="a.example:443")
    waiting = submit(3, queue=GONE)
    assert queue.admit(held[0], 100) == "admitted"
    assert Outgoing(redis, settings).lease(50, per_host=30).errands
    spared = submit(2, queue=OTHER, fetch_host="a.example:443")
    (later,) = submit(queue=GONE, fetch_host="a.example:443")
    redis.hset(f"headrace:{{a}}:job:{later}", "schema", SCHEMA + 1)

    assert queue.fail_version("gone", version_gone()) == 120 + 1 + 3

    assert open_of([*held, *on_gpu, *waiting]) == [] and open_of([*spared, later]) == [*spared, later]
    for id_ in (held[0], held[-1], on_gpu[0], waiting[0]):
        job = jobs.get(id_)
        assert job is not None and job.status is JobStatus.FAILED
        assert job.error == "E1202: the version of this job was deleted"
    assert not redis.zscore("headrace:{a}:outgoing:b.example:443", f"{held[50]}|fetch")
    redis.hset(f"headrace:{{a}}:job:{later}", "schema", SCHEMA)
    assert check() == []


def test_a_job_that_is_let_in_while_its_version_goes_away_is_found_in_its_line(
    queue: JobQueue, submit: Jobs, open_of: Any, check: Any
) -> None:
    held = submit(300, queue=GONE, fetch_host="a.example:443")
    admitter = threading.Thread(target=lambda: [queue.admit(id_, 100) for id_ in reversed(held)])
    admitter.start()
    failed = queue.fail_version("gone", version_gone())
    admitter.join()
    assert failed == 300 and open_of(held) == [] and check() == []
