import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from shared.connections import Redis
from shared.jobs.outgoing import Errand, Outgoing
from shared.jobs.queue import JobQueue
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures
from shared.webhooks.signing import message_id
from tests.receivers import Receiver, answer, hang
from workers.outgoing.circuits import Circuits
from workers.outgoing.dispatcher import Dispatcher


def test_more_dead_hosts_than_there_are_threads_keep_no_webhook_of_a_prompt_one_waiting(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, eventually: Any
) -> None:
    dead, good, late = [receive(hang) for _ in range(12)], receive(answer(200)), receive(answer(200))
    submit(good.url)
    finish()
    start_dispatcher(with_webhooks(timeout_seconds=20.0, threads=4, slow_threads=6, per_host=2, slow_seconds=0.2))
    eventually(lambda: good.requests)
    for receiver in dead:
        for _ in range(4):
            submit(receiver.url)
    finish()
    # Every thread is taken that dead hosts may have.
    eventually(lambda: sum(len(receiver.requests) for receiver in dead) == 6)
    for _ in range(20):
        submit(good.url)
    submit(late.url)
    begun = time.monotonic()
    finish()
    eventually(lambda: len(good.requests) == 21, 10)
    assert time.monotonic() - begun < 5
    counts = [len(receiver.requests) for receiver in dead]
    assert (sum(counts), max(counts)) == (6, 2)
    assert late.requests == []  # nobody knows it yet: it waits with the dead ones, for 20 s at most


def test_a_host_gets_several_at_once_as_soon_as_it_has_answered_one(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, eventually: Any
) -> None:
    gate = threading.Event()

    def hold_all_but_the_first(receiver: Receiver, connection: Any, number: int) -> None:
        if number:
            gate.wait(10)
        answer(200)(receiver, connection, number)

    receiver = receive(hold_all_but_the_first)
    for _ in range(8):
        submit(receiver.url)
    finish()
    start_dispatcher(with_webhooks(per_host=3))
    eventually(lambda: len(receiver.requests) == 4)
    gate.set()
    eventually(lambda: len(receiver.requests) == 8)


def test_webhooks_of_one_job_go_out_in_their_order_however_slow_its_receiver(
    receive: Any, submit: Any, take: Any, finish: Any, start_dispatcher: Any, eventually: Any
) -> None:
    gate = threading.Event()

    def wait_first(receiver: Receiver, connection: Any, number: int) -> None:
        if number == 0:
            gate.wait(10)
        answer(200)(receiver, connection, number)

    receiver = receive(wait_first)
    job = submit(receiver.url, "start", "completed")
    finish()
    start_dispatcher()
    eventually(lambda: receiver.requests)
    assert receiver.ids() == [message_id(job, "start")]
    gate.set()
    eventually(lambda: len(receiver.requests) == 2)
    assert receiver.ids()[1] == message_id(job, "completed")


def test_several_io_workers_deliver_each_webhook_once(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, eventually: Any
) -> None:
    receiver = receive(answer(200))
    for _ in range(3):
        start_dispatcher()
    jobs = [submit(receiver.url) for _ in range(60)]
    finish()
    eventually(lambda: len(receiver.requests) >= 60)
    assert Counter(receiver.ids()) == Counter(message_id(job, "completed") for job in jobs)


def test_an_errand_whose_worker_died_is_done_by_another_under_the_same_id_once_the_lease_has_passed(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, redis: Redis, eventually: Any
) -> None:
    receiver = receive(answer(200))
    job = submit(receiver.url)
    finish()
    settings = with_webhooks(lease_seconds=0.3)
    (lost,) = Outgoing(redis, settings).lease(1, per_host=1).errands
    start_dispatcher(settings)
    eventually(lambda: receiver.requests)
    assert receiver.ids() == [message_id(job, "completed")]
    assert not Outgoing(redis, settings).done(lost)


def test_a_host_that_fails_again_and_again_gets_nothing_for_a_while_and_then_one_attempt_at_a_time(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    redis: Redis, settings: Settings, eventually: Any,
) -> None:  # fmt: skip
    figures = WebhookFigures(redis, settings)
    healed = threading.Event()

    def fail_until_healed(receiver: Receiver, connection: Any, number: int) -> None:
        answer(200 if healed.is_set() else 503)(receiver, connection, number)

    receiver = receive(fail_until_healed)
    jobs = [submit(receiver.url) for _ in range(8)]
    finish()
    start_dispatcher(with_webhooks(circuit_failures=4, circuit_seconds=0.8, max_circuit_seconds=0.8, per_host=1))
    eventually(lambda: figures.read().open_circuits == 1)
    healed.set()
    eventually(lambda: all(outgoing.log(job)[-1:] and outgoing.log(job)[-1]["status"] == 200 for job in jobs))
    assert receiver.requests[4].at - receiver.requests[3].at >= 0.7
    assert figures.read().open_circuits == 0
    assert len(set(receiver.ids())) == 8


def test_pauses_of_a_host_double_up_to_a_limit_and_end_with_the_first_success(
    outgoing: Outgoing, redis: Redis, with_webhooks: Any
) -> None:
    settings = with_webhooks(circuit_failures=1, circuit_seconds=0.02, max_circuit_seconds=0.05)
    circuits = Circuits(outgoing, WebhookFigures(redis, settings), settings)
    pauses = []
    for _ in range(4):
        circuits.failed("a:1")
        pauses.append(redis.pttl("headrace:{a}:pause:a:1"))
        assert circuits.prompt() == [] and circuits.failing() == ["a:1"]
        time.sleep(max(0, pauses[-1]) / 1000 + 0.01)
    assert pauses[0] <= 20 and all(pauses[index] <= 50 for index in range(4)) and pauses[2] > 20
    circuits.succeeded("a:1")
    assert circuits.prompt() == ["a:1"] and redis.exists("headrace:{a}:pause:a:1") == 0


def test_a_host_is_known_by_how_long_it_kept_a_thread_the_last_time(
    outgoing: Outgoing, redis: Redis, with_webhooks: Any
) -> None:
    settings = with_webhooks(slow_seconds=1.0, circuit_failures=3)
    circuits = Circuits(outgoing, WebhookFigures(redis, settings), settings)
    for host, seconds in (("slow:1", 2.0), ("quick:1", 0.1), ("hangs:1", 5.0)):
        circuits.took(host, seconds)
    circuits.failed("hangs:1")
    assert (circuits.prompt(), circuits.failing()) == (["quick:1"], ["hangs:1"])
    circuits.took("slow:1", 0.1)
    assert circuits.prompt() == ["slow:1", "quick:1"]


def test_a_stop_hands_over_what_takes_longer_and_what_waits_behind_it(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, eventually: Any
) -> None:
    receiver = receive(hang)
    job_id = submit(receiver.url, "start", "completed")
    finish()
    first = start_dispatcher(with_webhooks(timeout_seconds=60.0))
    eventually(lambda: receiver.requests)
    first.stop()
    first.join(0.2)
    receiver.behaviour = answer(200)
    start_dispatcher()
    # The lease is much longer than this.
    eventually(lambda: {request.id for request in receiver.requests} == {
        message_id(job_id, "start"), message_id(job_id, "completed")
    }, 10)  # fmt: skip


def test_a_runner_that_breaks_stops_nothing(
    redis: Redis, outgoing: Outgoing, settings: Settings, queue: JobQueue, eventually: Callable[..., object]
) -> None:
    done = threading.Event()

    def run(errand: Errand) -> None:
        outgoing.done(errand)
        if errand.job_id == "a1":
            raise ValueError("planted")
        done.set()

    circuits = Circuits(outgoing, WebhookFigures(redis, settings), settings)
    dispatcher = Dispatcher(redis, outgoing, circuits, {"": run}, settings)
    outgoing.send("x:1", "a1", "test")
    dispatcher.start()
    outgoing.send("x:1", "a2", "test")
    assert done.wait(10)
    dispatcher.stop()
    dispatcher.join(5)
