import threading
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection

from shared.artifacts import ArtifactStore
from shared.connections import Redis, broker_url
from shared.errors import Unavailable
from shared.jobs.bells import Bells, celery_config
from shared.jobs.claim import Outcome, Taken
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper
from shared.settings import JobsSettings, QueueSettings, Settings

POOL = "predict.cpu"

Check = Callable[[], list[str]]
Eventually = Callable[..., object]
Jobs = Callable[..., list[str]]
Maker = Callable[..., NewJob]
Messages = Callable[..., list[dict[str, Any]]]
Outcomes = Callable[..., list[Outcome]]
Takes = Callable[..., Taken]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases and periods so short that tests need not wait for them."""
    return settings.model_copy(update={"queue": QueueSettings(lease_seconds=0.02, sweep_seconds=0.05)})


@pytest.fixture
def sweeper(redis: Redis, settings: Settings, artifacts: ArtifactStore) -> Sweeper:
    return Sweeper(redis, settings, artifacts)


@pytest.fixture
def lose(sweeper: Sweeper, eventually: Eventually) -> Callable[[Taken], None]:
    """Lets a claim's lease run out and sweeps."""

    def wait(taken: Taken) -> None:
        eventually(lambda: taken.claim in sweeper.reclaim())

    return wait


def test_the_jobs_of_a_dead_worker_wait_again_as_suspects(
    queue: JobQueue, submit: Jobs, take: Takes, lose: Callable[[Taken], None], check: Check
) -> None:
    ids = submit(3)
    taken = take()

    lose(taken)

    assert queue.lines(POOL, "") == ["m1!"]
    again = [take("m1!") for _ in range(4)]
    assert [[job.id for job in batch.jobs] for batch in again] == [[ids[0]], [ids[1]], [ids[2]], []]
    assert [batch.jobs[0].attempt for batch in again[:3]] == [2, 2, 2]
    assert check() == []


def test_a_worker_that_comes_back_late_settles_nothing_that_was_reclaimed(
    queue: JobQueue, submit: Jobs, take: Takes, lose: Callable[[Taken], None], outcomes: Outcomes
) -> None:
    submit(2)
    taken = take()
    lose(taken)
    again = take("m1!")

    assert queue.settle(taken.claim, outcomes(taken)) == ["lost", "lost"]
    assert queue.renew(taken.claim) == set()
    assert queue.settle(again.claim, outcomes(again)) == ["ok"]


def test_a_lapsed_lease_alone_refuses_no_settle(
    jobs: JobStore, queue: JobQueue, submit: Jobs, take: Takes, outcomes: Outcomes, eventually: Eventually
) -> None:
    submit()
    taken = take()
    eventually(lambda: jobs.now() * 1000 > taken.now_ms + 20)

    assert queue.settle(taken.claim, outcomes(taken)) == ["ok"]


def test_a_job_that_kills_its_workers_fails_and_its_neighbours_do_not(
    queue: JobQueue, jobs: JobStore, settings: Settings, submit: Jobs, take: Takes,
    lose: Callable[[Taken], None], outcomes: Outcomes, check: Check,
) -> None:  # fmt: skip
    ids = submit(8)
    lose(take())
    deaths = 1
    while lines := queue.lines(POOL, ""):
        taken = take(lines[0])
        if taken.jobs[0].id == ids[3]:
            deaths += 1
            lose(taken)
        else:
            assert queue.settle(taken.claim, outcomes(taken)) == ["ok"]

    poison = jobs.get(ids[3])
    assert poison is not None
    assert (poison.status, poison.error_code) == ("failed", "E1301")
    assert deaths == 1 + settings.jobs.max_alone
    assert [job.status for id_ in ids if (job := jobs.get(id_))].count("succeeded") == 7
    assert check() == []


def test_a_checkpoint_resets_the_count_of_deaths(
    queue: JobQueue, jobs: JobStore, settings: Settings, submit: Jobs, take: Takes,
    lose: Callable[[Taken], None],
) -> None:  # fmt: skip
    (id_,) = submit()
    lose(take())
    for _ in range(2 * settings.jobs.max_alone):
        taken = take("m1!")
        assert queue.progress(taken.claim, id_, taken.jobs[0].attempt, facts="", log="", checkpoint=True)
        lose(taken)

    job = jobs.get(id_)
    assert job is not None and job.status == "starting"


def test_a_passed_deadline_ends_waiting_and_running_jobs_without_a_worker(
    redis: Redis, settings: Settings, queue: JobQueue, jobs: JobStore, sweeper: Sweeper, submit: Jobs,
    take: Takes, new_job: Maker, eventually: Eventually, check: Check,
) -> None:  # fmt: skip
    hasty = JobQueue(redis, settings.model_copy(update={"jobs": JobsSettings(prediction_deadline_seconds=1)}))
    running = hasty.submit(new_job(deadline_seconds=1)).id
    taken = take()
    waiting = hasty.submit(new_job()).id
    (other,) = submit()

    eventually(lambda: sweeper.expire() is not None and redis.zcard("headrace:{a}:open") == 1)

    states = [(job.status, job.error_code) for id_ in (running, waiting, other) if (job := jobs.peek(id_))]
    assert states == [("canceled", "E1401"), ("failed", "E1402"), ("starting", None)]
    assert queue.settle(taken.claim, [Outcome(job.id, job.attempt, output=b"1") for job in taken.jobs]) == ["lost"]
    assert check() == []


def test_a_lost_message_is_sent_again_with_a_new_token(
    redis: Redis, sweeper: Sweeper, submit: Jobs, messages: Messages
) -> None:
    (id_,) = submit()
    redis.delete(f"headrace:celery:{POOL}")

    sweeper.nudge()

    (message,) = messages()
    assert message["token"] not in ("", id_)
    assert redis.get(f"headrace:{{a}}:bell:{POOL}") == message["token"].encode()


def test_no_message_is_added_while_one_waits(sweeper: Sweeper, submit: Jobs, messages: Messages) -> None:
    submit()

    for _ in range(3):
        sweeper.nudge()

    assert len(messages()) == 1


def test_a_period_has_one_nudge_however_many_sweep(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, submit: Jobs, messages: Messages
) -> None:
    patient = settings.model_copy(update={"queue": QueueSettings(sweep_seconds=60)})
    submit()
    for _ in range(5):
        redis.delete(f"headrace:celery:{POOL}")
        Sweeper(redis, patient, artifacts).nudge()

    assert len(messages()) == 0
    assert redis.exists(f"headrace:{{a}}:nudge:{POOL}")


def test_a_pool_without_work_is_left_alone(
    redis: Redis, queue: JobQueue, sweeper: Sweeper, submit: Jobs, messages: Messages
) -> None:
    queue.cancel(*submit())
    redis.delete(f"headrace:celery:{POOL}")

    sweeper.nudge()

    assert messages() == []


def test_a_bell_that_was_never_sent_is_rung_by_the_sweep(
    redis: Redis, settings: Settings, sweeper: Sweeper, submit: Jobs, messages: Messages
) -> None:
    submit()
    redis.delete(f"headrace:celery:{POOL}", f"headrace:{{a}}:bell:{POOL}")

    sweeper.nudge()

    assert len(messages()) == 1


def test_a_worker_reads_the_message_that_was_sent(settings: Settings, submit: Jobs) -> None:
    (id_,) = submit()
    options = celery_config(settings)["broker_transport_options"]

    with Connection(broker_url(settings), transport_options=options) as connection:
        queue = connection.SimpleQueue(POOL)
        message = queue.get(timeout=5)
        message.ack()
        queue.close()

    assert message.headers["task"] == "predict"
    assert message.payload[1] == {"pool": POOL, "shard": "a", "token": id_}


def test_a_pool_is_silent_while_no_message_waits(redis: Redis, settings: Settings, submit: Jobs) -> None:
    bells = Bells(redis, settings)

    assert bells.is_silent(POOL)
    submit()
    assert not bells.is_silent(POOL)


def test_one_process_sweeps_at_a_time(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, eventually: Eventually
) -> None:
    slower = settings.model_copy(update={"queue": QueueSettings(sweep_seconds=2)})
    sweepers = [Sweeper(redis, slower, artifacts) for _ in range(3)]

    assert [sweeper.run_once() for sweeper in sweepers] == [True, False, False]
    eventually(sweepers[1].run_once)


def test_a_large_input_is_deleted_with_the_data_of_its_job(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, new_job: Maker, eventually: Eventually
) -> None:
    brief = settings.model_copy(update={"jobs": JobsSettings(inline_input_bytes=10, retain_seconds=0.05)})
    queue, sweeper = JobQueue(redis, brief, artifacts), Sweeper(redis, brief, artifacts)
    ended = queue.submit(new_job(input=b'"larger than ten"')).id
    still_open = queue.submit(new_job(input=b'"larger than ten"')).id
    queue.cancel(ended)

    eventually(lambda: sweeper.run_once() and artifacts.names("inputs") == [still_open])

    queue.cancel(still_open)
    queue.delete(still_open)
    eventually(lambda: sweeper.run_once() and artifacts.names("inputs") == [])
    assert redis.zcard("headrace:{a}:spilled") == 0


def test_further_repairs_run_in_each_sweep(redis: Redis, settings: Settings, artifacts: ArtifactStore) -> None:
    ran: list[str] = []

    Sweeper(redis, settings, artifacts, also=(lambda: ran.append("a"), lambda: ran.append("b"))).run_once()

    assert ran == ["a", "b"]


@pytest.mark.parametrize("failure", [Unavailable("Redis does not answer."), RuntimeError("a bug")])
def test_a_failing_sweep_does_not_end_the_sweeps(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, failure: Exception, eventually: Eventually
) -> None:
    stop, runs = threading.Event(), list[int]()

    def repair() -> None:
        runs.append(len(runs))
        raise failure

    sweeper = Sweeper(redis, settings, artifacts, also=(repair,))
    thread = threading.Thread(target=sweeper.run_forever, args=(stop,))
    thread.start()
    try:
        eventually(lambda: len(runs) >= 3)
    finally:
        stop.set()
        thread.join()
