import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import IdempotencyMismatch, ModelLoadError, PredictionError, TooManyRequests
from shared.jobs.job import JobKind, JobStatus, new_job_id
from shared.jobs.queue import JobQueue, NewJob, Outcome, Taken
from shared.jobs.store import JobStore
from shared.settings import JobsSettings, QueueSettings, Settings, TrainingSettings

Check = Callable[[], list[str]]
Jobs = Callable[..., list[str]]
Maker = Callable[..., NewJob]
Messages = Callable[..., list[dict[str, Any]]]
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
    queue.settle(taken.claim, outcomes(taken), batch_rows=50, decode_ms=1000, compute_ms=4000)
    queue.submit(new_job(rows=90))

    with pytest.raises(TooManyRequests) as refusal:
        queue.submit(new_job(rows=40))

    assert queue.pace("m1") == 10.0
    assert refusal.value.retry_after_seconds == 3


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


def test_a_settled_job_has_its_output_and_metrics(queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes) -> None:
    (id_,) = submit()
    taken = take()

    answers = queue.settle(taken.claim, [Outcome(id_, 1, output=b'{"label": "7"}', metrics={"predict_time": 0.5})])

    job = jobs.get(id_)
    assert answers == ["ok"]
    assert job is not None
    assert (job.status, job.output, job.metrics) == ("succeeded", {"label": "7"}, {"predict_time": 0.5})
    assert job.started_at is not None and job.completed_at is not None
    assert job.created_at <= job.started_at <= job.completed_at


def test_a_failed_job_has_its_error_and_its_neighbours_have_none(
    queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes
) -> None:
    bad, good = submit(2)
    taken = take()

    queue.settle(
        taken.claim, [Outcome(bad, 1, error=PredictionError("not finite", "E1102")), Outcome(good, 1, output=b"1")]
    )

    failed, succeeded = jobs.get(bad), jobs.get(good)
    assert failed is not None and succeeded is not None
    assert (failed.status, failed.error, failed.error_code) == ("failed", "E1102: not finite", "E1102")
    assert (succeeded.status, succeeded.output, succeeded.error) == ("succeeded", 1, None)


def test_a_repeated_settle_is_known_and_changes_nothing(
    queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes
) -> None:
    (id_,) = submit()
    taken = take()
    queue.settle(taken.claim, [Outcome(id_, 1, output=b"1")])

    assert queue.settle(taken.claim, [Outcome(id_, 1, output=b"2")]) == ["same"]
    job = jobs.get(id_)
    assert job is not None and job.output == 1


def test_a_settle_of_any_length_ends_every_job(
    queue: JobQueue, submit: Jobs, take: Takes, outcomes: Outcomes, check: Check
) -> None:
    submit(100)
    taken = take(max_rows=100)

    assert queue.settle(taken.claim, outcomes(taken) * 3) == ["ok"] * 100 + ["same"] * 200
    assert check() == []


def test_no_settle_is_accepted_after_a_cancel_and_neighbours_are_unharmed(
    queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes, outcomes: Outcomes, check: Check
) -> None:
    ids = submit(3)
    taken = take()

    assert queue.cancel(ids[1]) == "processing"

    assert queue.settle(taken.claim, outcomes(taken)) == ["ok", "lost", "ok"]
    assert [job.status for id_ in ids if (job := jobs.get(id_))] == ["succeeded", "canceled", "succeeded"]
    assert check() == []


def test_a_cancel_answers_the_status_before(queue: JobQueue, submit: Jobs, take: Takes) -> None:
    running, waiting = submit(2)
    take(max_rows=1)

    assert [queue.cancel(running), queue.cancel(waiting), queue.cancel(waiting), queue.cancel(new_job_id())] == [
        "processing", "starting", "canceled", "",
    ]  # fmt: skip


def test_a_renewal_names_the_jobs_still_held(queue: JobQueue, submit: Jobs, take: Takes, outcomes: Outcomes) -> None:
    ids = submit(3)
    taken = take()
    queue.cancel(ids[0])

    assert queue.renew(taken.claim) == set(ids[1:])
    queue.settle(taken.claim, outcomes(taken))
    assert queue.renew(taken.claim) == set()


def test_a_claim_past_its_hard_deadline_is_not_renewed(
    queue: JobQueue, submit: Jobs, take: Takes, eventually: Callable[..., object]
) -> None:
    submit()
    taken = take(hard_seconds=0.05)

    eventually(lambda: queue.renew(taken.claim) == set())


def test_a_released_job_waits_at_its_old_place_and_its_attempt_grows_on(
    queue: JobQueue, submit: Jobs, take: Takes, messages: Messages, check: Check
) -> None:
    first, second = submit(2)
    taken = take(max_rows=1, token=first)

    assert queue.release(taken.claim) == [first]

    again = take()
    assert [(job.id, job.attempt) for job in again.jobs] == [(first, 2), (second, 1)]
    assert queue.settle(taken.claim, [Outcome(first, 1, output=b"1")]) == ["lost"]
    assert check() == []


def test_the_fifth_release_makes_a_suspect(queue: JobQueue, settings: Settings, submit: Jobs, take: Takes) -> None:
    (id_,) = submit()
    for _ in range(settings.jobs.max_releases):
        assert queue.lines("predict.cpu", "") == ["m1"]
        queue.release(take().claim)

    assert queue.lines("predict.cpu", "") == ["m1!"]
    assert [job.id for job in take("m1!", solo=False).jobs] == []
    assert [job.id for job in take("m1!").jobs] == [id_]


def test_progress_shows_at_once_and_logs_grow(queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes) -> None:
    (id_,) = submit()
    taken = take()

    assert queue.progress(taken.claim, id_, 1, facts='{"epoch": 1}', log="one\n", checkpoint=False)
    assert queue.progress(taken.claim, id_, 1, facts="", log="two\n", checkpoint=False)

    job = jobs.get(id_)
    assert job is not None
    assert (job.progress, job.logs) == ({"epoch": 1}, "one\ntwo\n")


def test_progress_of_a_lost_job_is_refused(queue: JobQueue, submit: Jobs, take: Takes) -> None:
    (id_,) = submit()
    taken = take()
    queue.cancel(id_)

    assert not queue.progress(taken.claim, id_, 1, facts="{}", log="", checkpoint=True)


def test_logs_keep_the_newest_whole_lines(
    redis: Redis, settings: Settings, jobs: JobStore, submit: Jobs, take: Takes
) -> None:
    queue = JobQueue(redis, settings.model_copy(update={"training": TrainingSettings(log_bytes=20)}))
    (id_,) = submit()
    taken = take()

    for number in range(5):
        queue.progress(taken.claim, id_, 1, facts="", log=f"line {number}\n", checkpoint=False)

    job = jobs.get(id_)
    assert job is not None and job.logs == "line 3\nline 4\n"


def test_the_end_of_a_job_wakes_those_who_wait_for_it(
    redis: Redis, queue: JobQueue, submit: Jobs, eventually: Callable[..., object]
) -> None:
    (id_,) = submit(waiter="headrace:wake:one")
    queue.watch(id_, "headrace:wake:two")
    listener = redis.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("headrace:wake:one", "headrace:wake:two")
    listener.get_message(timeout=5)
    listener.get_message(timeout=5)

    queue.cancel(id_)

    woken = [eventually(lambda: listener.get_message(timeout=1)) for _ in range(2)]
    assert {(message["channel"], message["data"]) for message in woken if isinstance(message, dict)} == {
        (b"headrace:wake:one", id_.encode()),
        (b"headrace:wake:two", id_.encode()),
    }
    listener.close()


def test_only_an_ended_job_is_deleted_and_then_nothing_of_it_is_left(
    redis: Redis, queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes, outcomes: Outcomes
) -> None:
    (id_,) = submit()
    assert not queue.delete(id_)
    taken = take()
    queue.progress(taken.claim, id_, 1, facts="{}", log="line\n", checkpoint=False)
    assert not queue.delete(id_)
    queue.settle(taken.claim, outcomes(taken))

    assert queue.delete(id_)

    assert not queue.delete(id_)
    assert jobs.get(id_) is None
    assert [name for name in redis.keys("*") if id_.encode() in name] == []
    assert jobs.list("ann", list(JobKind)).jobs == []


def test_the_key_of_a_deleted_job_starts_nothing_new(queue: JobQueue, new_job: Maker, jobs: JobStore) -> None:
    first = queue.submit(new_job(idempotency_key="once", body_hash="b"))
    queue.cancel(first.id)
    queue.delete(first.id)

    again = queue.submit(new_job(idempotency_key="once", body_hash="b"))

    assert (again.id, again.is_new) == (first.id, False)
    assert jobs.get(first.id) is None


def test_a_version_that_goes_away_fails_every_waiting_job_and_no_running_one(
    queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes, outcomes: Outcomes, check: Check
) -> None:
    (suspect,) = submit()
    for _ in range(5):
        queue.release(take().claim)
    submit(2)
    running = take(max_rows=2)
    waiting = submit(150)

    assert queue.fail_waiting("m1", ModelLoadError("the version was deleted", "E1202")) == 151

    assert queue.settle(running.claim, outcomes(running)) == ["ok", "ok"]
    for id_ in (suspect, waiting[0], waiting[-1]):
        job = jobs.get(id_)
        assert job is not None and (job.status, job.error) == ("failed", "E1202: the version was deleted")
    assert check() == []


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


def test_the_outbox_has_an_entry_only_where_the_end_was_asked_for(redis: Redis, queue: JobQueue, submit: Jobs) -> None:
    (wanted,) = submit(webhook="https://example.org", webhook_events=("completed",))
    (only_start,) = submit(webhook="https://example.org", webhook_events=("start",))
    (none,) = submit()

    for id_ in (wanted, only_start, none):
        queue.cancel(id_)

    assert redis.zrange("headrace:{a}:outbox", 0, -1) == [f"{wanted}|completed".encode()]


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


def test_threads_may_share_one_queue(queue: JobQueue, new_job: Maker, take: Takes, check: Check) -> None:
    stop = threading.Event()
    done: list[str] = []

    def drain() -> None:
        while not stop.is_set() or queue.lines("predict.cpu", ""):
            taken = take(max_rows=4)
            answers = queue.settle(taken.claim, [Outcome(job.id, job.attempt, output=b"1") for job in taken.jobs])
            done.extend(job.id for job, answer in zip(taken.jobs, answers, strict=True) if answer == "ok")

    drains = [threading.Thread(target=drain) for _ in range(3)]
    for thread in drains:
        thread.start()
    ids = [queue.submit(new_job()).id for _ in range(100)]
    stop.set()
    for thread in drains:
        thread.join()

    assert sorted(done) == sorted(ids)
    assert check() == []
