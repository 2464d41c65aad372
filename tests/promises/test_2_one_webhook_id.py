import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.http_client import lane_of
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outgoing import Outgoing
from shared.webhooks.signing import message_id
from tests.promises.conftest import Stack
from tests.receivers import Receiver, answer, hang, in_turn

POOL = "predict.cpu"
QUEUE = queue_of("v", POOL)


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(behaviour: Any) -> Receiver:
        made.append(Receiver(behaviour))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def hooked(make_stack: Callable[..., Stack]) -> Stack:
    """A service whose webhooks are tried again soon; it has no process but Redis yet."""
    return make_stack(
        HEADRACE_OUTGOING__ALLOWED_NETWORKS='["127.0.0.0/8"]',
        HEADRACE_OUTGOING__FETCH_TIMEOUT_SECONDS="0.5",
        HEADRACE_WEBHOOKS__TIMEOUT_SECONDS="10",
        HEADRACE_WEBHOOKS__SCHEDULE_SECONDS=str([0, *[0.5] * 29]),
        HEADRACE_WEBHOOKS__LEASE_SECONDS="10.5",
        HEADRACE_WEBHOOKS__CIRCUIT_FAILURES="100",
    )


def start_io(stack: Stack) -> "subprocess.Popen[bytes]":
    return stack.start(
        "celery", "-A", "workers", "worker", "-P", "threads", "-c", "2", "-Q", "io",
        "-n", f"io{len(stack.processes)}@%h", "--without-mingle", "--without-gossip", "--without-heartbeat", name="io",
    )  # fmt: skip


def end_jobs(stack: Stack, url: str, count: int) -> list[str]:
    """Submits jobs with a webhook and ends them; returns their ids."""
    made = []
    for _ in range(count):
        new = NewJob(
            id=new_job_id(), kind=JobKind.PREDICTION, account="acme", key_id="k", queue=QUEUE, pool=POOL, input=b"{}",
            version="v", webhook=url, webhook_events=("completed",), webhook_host=lane_of(url),
        )  # fmt: skip
        made.append(stack.queue.submit(new).id)
    while True:
        taken = stack.queue.take(QUEUE, POOL, max_rows=64, max_bytes=1 << 25, hard_seconds=60, solo=True)
        if not taken.jobs:
            return made
        stack.queue.settle(taken.claim, [Outcome(job.id, job.attempt, b"1") for job in taken.jobs])


def test_an_io_worker_killed_between_two_attempts_leaves_its_webhook_to_another_under_the_same_id(
    hooked: Stack, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(in_turn(answer(500), answer(200)))
    (job,) = end_jobs(hooked, receiver.url, 1)
    first = start_io(hooked)
    hooked.wait(lambda: receiver.requests, "the first attempt")
    hooked.kill(first)
    start_io(hooked)
    hooked.wait(lambda: len(receiver.requests) == 2, "the second attempt")
    outgoing = Outgoing(hooked.redis, hooked.settings)
    hooked.wait(lambda: outgoing.log(job)[-1:] and outgoing.log(job)[-1]["outcome"] == "delivered", "the delivery")
    assert receiver.ids() == [message_id(job, "completed")] * 2


def test_redis_killed_between_the_end_of_a_job_and_its_delivery_loses_no_webhook(
    hooked: Stack, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(answer(200))
    before = end_jobs(hooked, receiver.url, 3)
    hooked.server.kill()
    hooked.server.start()
    io = start_io(hooked)
    hooked.wait(lambda: len(set(receiver.ids())) == 3, "the deliveries")
    # And while a worker is there, which has to come back by itself.
    receiver.behaviour = in_turn(*[answer(500)] * 6, answer(200))
    after = end_jobs(hooked, receiver.url, 3)
    hooked.server.kill()
    hooked.server.start()
    expected = {message_id(job, "completed") for job in (*before, *after)}
    hooked.wait(lambda: set(receiver.ids()) == expected, "the deliveries after the second outage")
    assert io.poll() is None


@pytest.mark.long
def test_an_io_worker_killed_in_an_attempt_leaves_it_to_another_under_the_same_id(
    hooked: Stack, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(in_turn(hang, answer(200)))
    (job,) = end_jobs(hooked, receiver.url, 1)
    first = start_io(hooked)
    hooked.wait(lambda: receiver.requests, "the first attempt")
    hooked.kill(first)
    start_io(hooked)
    hooked.wait(lambda: len(receiver.requests) == 2, "the second attempt, after the lease", 30)
    assert receiver.ids() == [message_id(job, "completed")] * 2


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_jobs_and_a_receiver_that_fails_half_the_time_while_io_workers_and_redis_are_killed(
    hooked: Stack, receive: Callable[..., Receiver]
) -> None:
    dice = random.Random(7)

    def half(receiver: Receiver, connection: Any, number: int) -> None:
        answer(503 if dice.random() < 0.5 else 200)(receiver, connection, number)

    receiver = receive(half)
    workers = [start_io(hooked), start_io(hooked)]
    jobs = end_jobs(hooked, receiver.url, 1000)
    hooked.wait(lambda: len(receiver.requests) >= 300, "the first attempts", 60)
    hooked.kill(workers[0])
    hooked.wait(lambda: len(receiver.requests) >= 600, "attempts of the other worker", 60)
    hooked.server.kill()
    hooked.server.start()
    start_io(hooked)
    outgoing = Outgoing(hooked.redis, hooked.settings)

    def undelivered() -> list[str]:
        return [job for job in jobs if "delivered" not in {entry["outcome"] for entry in outgoing.log(job)}]

    hooked.wait(lambda: not undelivered(), "all deliveries", 200)
    ids = Counter(receiver.ids())
    assert set(ids) == {message_id(job, "completed") for job in jobs}
    assert outgoing.dead_letters("acme") == []
