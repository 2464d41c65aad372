"""What each of several processes does that race on the same jobs, with the server's own clock."""

import random
import time
from collections.abc import Callable
from typing import Any

from shared.connections import Redis, open_keyspace, open_redis
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.lua import Scripts
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.settings import QueueSettings, RedisSettings, Settings

RACERS = 10
KEYS = 400
SUBMITTERS = 4
SECONDS = 90.0
POOL = "predict.cpu"

Report = list[tuple[str, ...]]


def settings_of(url: str) -> Settings:
    """Leases so short that a worker that pauses loses them."""
    return Settings(redis=RedisSettings(url=url), queue=QueueSettings(lease_seconds=0.15, account_max_rows=1_000_000))


def race(url: str, role: str, number: int) -> Report:
    """Plays one role from the moment on when all racers are there, until every job has ended."""
    settings = settings_of(url)
    redis = open_redis(settings)
    redis.incr("racers")
    until = time.monotonic() + SECONDS
    while int(redis.get("racers") or 0) < RACERS:
        if time.monotonic() > until:
            raise TimeoutError("the other racers did not come")
        time.sleep(0.01)
    roles: dict[str, Callable[[Redis, JobQueue, random.Random], Report]] = {
        "submit": _submit,
        "work": _work,
        "meddle": _meddle,
    }
    return roles[role](redis, JobQueue(redis, settings), random.Random(number))


def _goes_on(redis: Redis) -> bool:
    return int(redis.get("submitted") or 0) < SUBMITTERS or bool(redis.zcard("headrace:{a}:open"))


def _submit(redis: Redis, queue: JobQueue, dice: random.Random) -> Report:
    """The same keys as every other submitter; answers (key, id, whether new)."""
    report: Report = []
    for key in range(KEYS):
        new = NewJob(
            id=new_job_id(), kind=JobKind.PREDICTION, account="ann", key_id="k", queue="m1", pool=POOL,
            input=b'"input"', idempotency_key=f"k{key}", body_hash="b", webhook="https://example.org",
            webhook_host="example.org:443", webhook_events=("completed",),
        )  # fmt: skip
        submitted = queue.submit(new)
        redis.sadd("ids", submitted.id)
        report.append((f"k{key}", submitted.id, str(int(submitted.is_new))))
    redis.incr("submitted")
    return report


def _work(redis: Redis, queue: JobQueue, dice: random.Random) -> Report:
    """Drains, now and then pausing past the lease, handing back or vanishing; answers the jobs it ended."""
    report: Report = []
    until = time.monotonic() + SECONDS
    while _goes_on(redis) and time.monotonic() < until:
        lines = queue.lines(POOL, "")
        if not lines:
            time.sleep(0.005)
            continue
        taken = queue.take(lines[0], POOL, max_rows=16, max_bytes=1 << 20, hard_seconds=2, solo=True)
        luck = dice.random()
        if luck < 0.05:
            time.sleep(0.3)
        elif luck < 0.08:
            queue.release(taken.claim)
            continue
        elif luck < 0.11:
            continue
        outcomes = [Outcome(job.id, job.attempt, output=b"1") for job in taken.jobs]
        for _ in range(2):
            answers = queue.settle(taken.claim, outcomes) if outcomes else []
            report += [(o.id,) for o, answer in zip(outcomes, answers, strict=True) if answer == "ok"]
    return report


def _meddle(redis: Redis, queue: JobQueue, dice: random.Random) -> Report:
    """Cancels at random and reclaims; answers the jobs it ended."""
    report: Report = []
    scripts, tag = Scripts(redis), open_keyspace(settings_of("redis://unused")).tag()
    until = time.monotonic() + SECONDS
    while _goes_on(redis) and time.monotonic() < until:
        some: Any = redis.srandmember("ids")
        if some is not None and dice.random() < 0.2 and queue.cancel(some.decode()) in ("starting", "processing"):
            report.append((some.decode(),))
        _, given_up, _, _ = scripts.call("reclaim", tag, 10, 3, "token")
        report += [(id_.decode(),) for id_ in given_up]
        time.sleep(0.005)
    return report
