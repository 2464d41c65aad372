import re
from collections.abc import Callable
from typing import Any

import pytest

from shared.connections import Redis
from shared.errors import JobError, Unavailable
from shared.jobs.job import SCHEMA, JobStatus
from shared.jobs.lua import sources
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper


def _later(redis: Redis, job_id: str, **fields: Any) -> None:
    redis.hset(f"headrace:{{a}}:job:{job_id}", mapping={"schema": SCHEMA + 1, **fields})


def test_scripts_and_records_have_one_number() -> None:
    (number,) = set(re.findall(r"local SCHEMA = (\d+)", "".join(sources().values())))
    assert int(number) == SCHEMA


def test_a_waiting_job_of_a_later_release_is_left_to_its_workers_who_are_rung_for(
    redis: Redis, submit: Callable[..., list[str]], take: Callable[..., Any], queue: JobQueue, jobs: JobStore
) -> None:
    own, later, behind = submit(3)
    _later(redis, later)
    token = (redis.get("headrace:{a}:bell:predict.cpu") or b"").decode()
    assert [job.id for job in take(token=token).jobs] == [own]
    taken = take()
    assert taken.jobs == [] and taken.has_more
    assert redis.exists("headrace:{a}:bell:predict.cpu")
    assert queue.fail_waiting("m1", JobError("no more")) == 1
    assert (jobs.get(behind) or jobs.get(own)).status is JobStatus.FAILED  # type: ignore[union-attr]
    assert jobs.get(later).status is JobStatus.STARTING  # type: ignore[union-attr]


def test_nothing_else_of_this_release_ends_moves_or_deletes_a_job_of_a_later_one(
    redis: Redis,
    submit: Callable[..., list[str]],
    take: Callable[..., Any],
    queue: JobQueue,
    jobs: JobStore,
    settings: Any,
    artifacts: Any,
) -> None:
    sweeper = Sweeper(redis, settings, artifacts)
    waiting, held, gone = submit(3)
    _later(redis, waiting)
    with pytest.raises(Unavailable, match="later release"):
        queue.cancel(waiting)
    redis.hset(f"headrace:{{a}}:job:{waiting}", "deadline", 1)
    redis.zadd("headrace:{a}:open", {waiting: 1})
    assert sweeper.expire() == 0
    redis.hset(f"headrace:{{a}}:job:{waiting}", "schema", SCHEMA)
    assert sweeper.expire() == 1
    claim = take().claim
    _later(redis, held)
    redis.zadd("headrace:{a}:claims", {claim: 1})
    assert sweeper.reclaim() == []
    redis.hset(f"headrace:{{a}}:job:{held}", "schema", SCHEMA)
    assert sweeper.reclaim() == [claim]
    queue.cancel(gone)
    _later(redis, gone)
    with pytest.raises(Unavailable, match="later release"):
        queue.delete(gone)


def test_a_record_of_an_unknown_kind_is_for_others_to_show_and_one_of_a_known_kind_is_shown(
    redis: Redis, submit: Callable[..., list[str]], jobs: JobStore
) -> None:
    known, unknown = submit(2)
    _later(redis, known, something="new")
    _later(redis, unknown, kind="dream")
    assert jobs.get(known).status is JobStatus.STARTING  # type: ignore[union-attr]
    with pytest.raises(Unavailable, match="later release"):
        jobs.get(unknown)
