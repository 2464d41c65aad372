import threading
from collections.abc import Callable
from typing import Any

from shared.connections import Redis
from shared.errors import ModelLoadError, PredictionError
from shared.jobs.claim import Outcome, Taken
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import Settings, TrainingSettings

Check = Callable[[], list[str]]
Jobs = Callable[..., list[str]]
Maker = Callable[..., NewJob]
Messages = Callable[..., list[dict[str, Any]]]
Outcomes = Callable[..., list[Outcome]]
Takes = Callable[..., Taken]


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


def test_the_outbox_has_an_entry_only_where_the_end_was_asked_for(redis: Redis, queue: JobQueue, submit: Jobs) -> None:
    (wanted,) = submit(webhook="https://example.org", webhook_host="example.org:443", webhook_events=("completed",))
    (only_start,) = submit(webhook="https://example.org", webhook_host="example.org:443", webhook_events=("start",))
    (none,) = submit()

    for id_ in (wanted, only_start, none):
        queue.cancel(id_)

    assert redis.zrange("headrace:{a}:outgoing:example.org:443", 0, -1) == [f"{wanted}|completed".encode()]


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
