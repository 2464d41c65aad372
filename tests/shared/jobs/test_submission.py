from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import IdempotencyMismatch, TooManyRequests
from shared.jobs.claim import Outcome, Taken
from shared.jobs.job import JobKind
from shared.jobs.new_job import NewJob
from shared.jobs.paces import Paces
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import QueueSettings, Settings

Check = Callable[[], list[str]]
Jobs = Callable[..., list[str]]
Maker = Callable[..., NewJob]
Outcomes = Callable[..., list[Outcome]]
Takes = Callable[..., Taken]


def limited(redis: Redis, settings: Settings, artifacts: ArtifactStore, **limits: int) -> JobQueue:
    return JobQueue(redis, settings.model_copy(update={"queue": QueueSettings(**limits)}), artifacts)


def test_a_new_job_waits_with_everything_it_was_given(queue: JobQueue, jobs: JobStore, new_job: Maker) -> None:
    new = new_job(
        input=b'{"image": 7}', priority="high", rows=3, details={"destination": "ann/next"}, traceparent="00-ab-cd-01",
        webhook="https://example.org/hook", webhook_events=("start", "completed"), source="cli",
    )  # fmt: skip

    submitted = queue.submit(new)

    job = jobs.get(new.id)
    assert submitted.is_new
    assert job is not None
    assert (job.status, job.attempt, job.kind, job.account, job.key_id) == ("starting", 0, "prediction", "ann", "k1")
    assert (job.queue, job.pool, job.priority, job.rows, job.bytes) == ("m1", "predict.cpu", "high", 3, 12)
    assert (job.model, job.version, job.input, job.details) == (
        "ann/digits", "v1", {"image": 7}, {"destination": "ann/next"},
    )  # fmt: skip
    assert (job.webhook, job.webhook_events) == ("https://example.org/hook", ("start", "completed"))
    assert (job.source, job.traceparent, job.output, job.error) == ("cli", "00-ab-cd-01", None, None)
    assert job.deadline - job.created_at == 86_400
    assert not job.deadline_by_caller


def test_the_default_deadline_depends_on_the_kind(queue: JobQueue, jobs: JobStore, new_job: Maker) -> None:
    training = queue.submit(new_job(kind=JobKind.TRAINING, queue="training", pool="train.cpu")).id

    job = jobs.get(training)

    assert job is not None and job.deadline - job.created_at == 30 * 86_400


def test_a_submission_repeated_by_its_id_makes_one_job(queue: JobQueue, new_job: Maker, check: Check) -> None:
    new = new_job()

    answers = [queue.submit(new) for _ in range(3)]

    assert [answer.is_new for answer in answers] == [True, False, False]
    assert {answer.id for answer in answers} == {new.id}
    assert check() == []


def test_a_submission_repeated_by_its_key_finds_the_first_job(queue: JobQueue, new_job: Maker) -> None:
    first = queue.submit(new_job(idempotency_key="once", body_hash="b"))
    again = queue.submit(new_job(idempotency_key="once", body_hash="b"))
    elsewhere = queue.submit(new_job(idempotency_key="once", body_hash="b", account="bob"))

    assert (again.id, again.is_new) == (first.id, False)
    assert elsewhere.is_new


def test_a_key_with_another_body_is_refused_and_names_the_job(queue: JobQueue, new_job: Maker) -> None:
    first = queue.submit(new_job(idempotency_key="once", body_hash="b"))

    with pytest.raises(IdempotencyMismatch) as refusal:
        queue.submit(new_job(idempotency_key="once", body_hash="other"))

    assert refusal.value.facts["job"] == first.id


def test_fifty_simultaneous_submissions_of_one_key_make_one_job(
    queue: JobQueue, new_job: Maker, take: Takes, check: Check
) -> None:
    news = [new_job(idempotency_key="once", body_hash="b") for _ in range(50)]

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(queue.submit, news))

    assert len({answer.id for answer in answers}) == 1
    assert sum(answer.is_new for answer in answers) == 1
    assert len(take().jobs) == 1
    assert check() == []


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"max_rows": 5}, {"rows": 2}),
        ({"max_bytes": 250}, {"input": b'"' + b"x" * 98 + b'"'}),
        ({"account_max_rows": 5}, {"rows": 2}),
        ({"account_max_bytes": 250}, {"input": b'"' + b"x" * 98 + b'"'}),
    ],
)
def test_a_full_queue_or_account_refuses_and_keeps_nothing(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, new_job: Maker, check: Check,
    limits: dict[str, int], sizes: dict[str, Any],
) -> None:  # fmt: skip
    queue = limited(redis, settings, artifacts, **limits)
    accepted = [queue.submit(new_job(**sizes)).id for _ in range(2)]
    refused = new_job(**sizes)

    with pytest.raises(TooManyRequests) as refusal:
        queue.submit(refused)

    assert refusal.value.retry_after_seconds >= 1
    assert not redis.exists(f"headrace:{{a}}:job:{refused.id}")
    queue.cancel(accepted[0])
    assert queue.submit(refused).is_new
    assert check() == []


def test_an_account_counts_over_all_queues_and_while_its_jobs_run(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, new_job: Maker, outcomes: Outcomes
) -> None:
    queue = limited(redis, settings, artifacts, account_max_rows=2)
    queue.submit(new_job(queue="m1"))
    taken = queue.take("m1", "predict.cpu", max_rows=64, max_bytes=1000, hard_seconds=60, solo=True)
    queue.submit(new_job(queue="m2"))

    with pytest.raises(TooManyRequests, match="account ann"):
        queue.submit(new_job(queue="m3"))
    assert queue.submit(new_job(queue="m3", account="bob")).is_new

    queue.settle(taken.claim, outcomes(taken))
    assert queue.submit(new_job(queue="m3")).is_new


@pytest.mark.parametrize("limit", ["max_rows", "account_max_rows"])
def test_the_wait_that_a_refusal_names_follows_the_pace_of_the_workers(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, new_job: Maker, outcomes: Outcomes, limit: str
) -> None:
    queue = limited(redis, settings, artifacts, **{limit: 100})
    queue.submit(new_job(rows=50))
    taken = queue.take("m1", "predict.cpu", max_rows=64, max_bytes=1000, hard_seconds=60, solo=True)
    queue.settle(taken.claim, outcomes(taken), batches=[50])
    # As if ten rows had left in each of the last seconds.
    for name in ("m1", "ann|"):
        redis.hset(f"headrace:{{a}}:pace:{name}", mapping={"rows": 10_000, "ms": 1_000_000})
    queue.submit(new_job(rows=90))

    with pytest.raises(TooManyRequests) as refusal:
        queue.submit(new_job(rows=35))

    assert Paces(redis, settings).of_queue("m1") == pytest.approx(10.0, rel=0.01)
    assert refusal.value.retry_after_seconds == 3


def test_a_large_input_lies_in_the_artifact_store(
    redis: Redis,
    queue: JobQueue,
    jobs: JobStore,
    artifacts: ArtifactStore,
    submit: Jobs,
    take: Takes,
    settings: Settings,
) -> None:
    large = b'"' + b"x" * settings.jobs.inline_input_bytes + b'"'
    (id_,) = submit(input=large)

    job = jobs.get(id_)
    (taken,) = take(max_bytes=1 << 30).jobs
    assert job is not None and job.input == "x" * settings.jobs.inline_input_bytes
    assert job.bytes == len(large)
    assert taken.input == b""
    assert artifacts.read(taken.spill) == large
    assert redis.memory_usage(f"headrace:{{a}}:data:{id_}") < 1000


def test_the_large_input_of_a_submission_that_makes_no_job_is_not_kept(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, new_job: Maker
) -> None:
    queue = limited(redis, settings, artifacts, max_rows=1)
    large = b'"' + b"x" * settings.jobs.inline_input_bytes + b'"'
    first = queue.submit(new_job(input=large, idempotency_key="once", body_hash="b"))

    queue.submit(new_job(input=large, idempotency_key="once", body_hash="b"))
    with pytest.raises(IdempotencyMismatch):
        queue.submit(new_job(input=large, idempotency_key="once", body_hash="other"))
    with pytest.raises(TooManyRequests):
        queue.submit(new_job(input=large))

    assert artifacts.names("inputs") == [first.id]


def test_a_submission_repeated_by_its_id_keeps_its_large_input(
    queue: JobQueue, jobs: JobStore, new_job: Maker, settings: Settings
) -> None:
    new = new_job(input=b'"' + b"x" * settings.jobs.inline_input_bytes + b'"')
    queue.submit(new)
    queue.submit(new)

    job = jobs.get(new.id)
    assert job is not None and job.input is not None


def test_every_key_begins_with_the_prefix(redis: Redis, settings: Settings, new_job: Maker) -> None:
    other = settings.model_copy(update={"redis": settings.redis.model_copy(update={"prefix": "other"})})
    queue = JobQueue(redis, other)
    queue.submit(new_job(waiter="other:wake:1", idempotency_key="once"))
    taken = queue.take("m1", "predict.cpu", max_rows=1, max_bytes=1000, hard_seconds=60, solo=True)
    queue.progress(taken.claim, taken.jobs[0].id, 1, facts="{}", log="line\n", checkpoint=True)
    queue.release(taken.claim)
    queue.cancel(taken.jobs[0].id)

    assert {name.decode().partition(":")[0] for name in redis.keys("*")} == {"other"}


def test_waiting_for_no_channel_keeps_no_key(redis: Redis, submit: Jobs) -> None:
    submit()

    assert redis.keys("*:waiters:*") == []
