import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from tests.promises.conftest import DIE, HOLD, MODEL, PLAIN, RAISE, Stack


def direct_job(stack: Stack, x: list[int], **fields: Any) -> str:
    new = NewJob(
        id=new_job_id(),
        kind=JobKind.PREDICTION,
        account="acme",
        key_id="tests",
        queue=queue_of(stack.version, "predict.cpu"),
        pool="predict.cpu",
        input=f'{{"x": {x}}}'.encode(),
        model=MODEL,
        version=stack.version,
        **fields,
    )
    return stack.queue.submit(new).id


def test_a_worker_killed_in_mid_batch_leaves_no_job_open(stack: Stack) -> None:
    held = [stack.post([1, HOLD])] + [stack.post([value, PLAIN]) for value in range(2, 8)]
    worker = stack.start_worker()
    stack.signaled("holding-1")
    stack.kill(worker)
    stack.let_go()
    stack.start_worker()
    for value, job in enumerate(held, 1):
        ended = stack.ended(job["id"])
        assert (ended["status"], ended["output"]) == ("succeeded", [2 * value])
        assert ended["attempt"] >= 2


def test_all_workers_killed_at_once_leave_no_job_open(stack: Stack) -> None:
    workers = [stack.start_worker(), stack.start_worker()]
    jobs = [stack.post([1, HOLD])]
    stack.signaled("holding-1")
    jobs.append(stack.post([2, HOLD]))
    stack.signaled("holding-2")
    for worker in workers:
        stack.kill(worker)
    stack.let_go()
    jobs.append(stack.post([3, PLAIN]))
    stack.start_worker()
    assert [stack.ended(job["id"])["output"] for job in jobs] == [[2], [4], [6]]


def test_an_api_killed_between_acceptance_and_answer_loses_nothing(stack: Stack) -> None:
    api = stack.processes[0]
    stack.start_worker()
    failures: list[Exception] = []

    def post() -> None:
        try:
            stack.post([5, HOLD], Prefer="wait", Idempotency_Key="once")
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            failures.append(error)

    client = threading.Thread(target=post)
    client.start()
    stack.signaled("holding-5")
    stack.kill(api)
    client.join()
    assert len(failures) == 1
    stack.let_go()
    stack.start_api()
    again = stack.post([5, HOLD], Idempotency_Key="once")
    assert stack.ended(again["id"])["output"] == [10]
    listed = stack.call("GET", "/v1/predictions").json()["results"]
    assert [job["id"] for job in listed] == [again["id"]]


def test_a_bell_that_is_never_sent_only_delays_a_job(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.start_worker()
    monkeypatch.setattr(stack.queue.bells, "ring", lambda *_: None)
    job_id = direct_job(stack, [4, PLAIN])
    assert stack.ended(job_id)["output"] == [8]


def test_a_worker_goes_on_after_a_message_that_redis_did_not_let_it_acknowledge(stack: Stack) -> None:
    stack.start_worker("deaf_worker")
    assert stack.ended(stack.post([1, PLAIN])["id"])["output"] == [2]
    assert stack.ended(stack.post([2, PLAIN])["id"])["output"] == [4]
    assert stack.ended(stack.post([3, PLAIN])["id"])["output"] == [6]


def test_a_worker_that_slept_past_its_lease_changes_nothing(stack: Stack) -> None:
    sleeper = stack.start_worker()
    job = stack.post([1, HOLD])
    stack.signaled("holding-1")
    os.killpg(sleeper.pid, signal.SIGSTOP)
    stack.let_go()
    neighbour = stack.post([2, PLAIN])
    other = stack.start_worker()
    ended = stack.ended(job["id"])
    assert (ended["output"], ended["attempt"]) == ([2], 2)
    assert stack.ended(neighbour["id"])["output"] == [4]
    computed = stack.signals / "computed"
    before = stack.get(job["id"])
    stack.kill(other)
    os.killpg(sleeper.pid, signal.SIGCONT)
    # It serves again, so it has tried to settle what it held: one process does one thing after the other.
    last = stack.post([3, PLAIN])
    assert stack.ended(last["id"])["output"] == [6]
    assert stack.get(job["id"]) == before
    assert computed.read_text().count("\n1 1 ") + computed.read_text().startswith("1 1 ") == 2


def test_a_job_that_kills_its_workers_fails_and_its_63_neighbours_do_not(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_QUEUE__LEASE_SECONDS="0.7")
    stack.start_api()
    poison_at = 20
    ids = [direct_job(stack, [value, DIE if value == poison_at else PLAIN]) for value in range(64)]
    done = threading.Event()

    def keep_a_worker() -> None:
        while not done.is_set():
            stack.launch_worker().wait()

    keeper = threading.Thread(target=keep_a_worker)
    keeper.start()
    try:
        ends = [stack.ended(job_id, 80) for job_id in ids]
    finally:
        done.set()
        for process in list(stack.processes)[1:]:
            if process.poll() is None:
                stack.kill(process)
        keeper.join()
    for value, ended in enumerate(ends):
        if value == poison_at:
            assert (ended["status"], ended["error_code"]) == ("failed", "E1301")
        else:
            assert (ended["status"], ended["output"]) == ("succeeded", [2 * value])
    assert len(list(stack.signals.glob(f"died-{poison_at}-*"))) <= 1 + stack.settings.jobs.max_alone


def test_a_row_that_raises_fails_alone(stack: Stack) -> None:
    jobs = [stack.post([value, RAISE if value == 3 else PLAIN]) for value in range(6)]
    stack.start_worker()
    ends = [stack.ended(job["id"]) for job in jobs]
    assert [end["status"] for end in ends] == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 2
    assert ends[3]["error"].startswith("E1101: ")


def test_a_job_with_a_deadline_ends_without_any_worker(stack: Stack) -> None:
    by_caller = direct_job(stack, [1, PLAIN], deadline_seconds=0.5)
    ended = stack.ended(by_caller)
    assert (ended["status"], ended["error_code"]) == ("canceled", "E1401")


def test_redis_killed_and_restarted_loses_no_accepted_job(stack: Stack) -> None:
    worker = stack.start_worker()
    held = stack.post([1, HOLD])
    stack.signaled("holding-1")
    waiting = [stack.post([value, PLAIN]) for value in range(2, 6)]
    stack.server.kill()
    began = time.monotonic()
    refused = stack.call("GET", "/v1/predictions")
    assert refused.status_code == 503
    assert time.monotonic() - began < 2
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert stack.answers("/livez")
    stack.server.start()
    stack.let_go()
    for value, job in enumerate([held, *waiting], 1):
        assert stack.ended(job["id"])["output"] == [2 * value]
    assert worker.poll() is None


def test_a_worker_that_is_told_to_stop_answers_its_batch_first(stack: Stack) -> None:
    worker = stack.start_worker()
    job = stack.post([1, HOLD])
    stack.signaled("holding-1")
    worker.send_signal(signal.SIGTERM)
    stack.let_go()
    assert worker.wait(20) == 0
    assert (stack.get(job["id"])["status"], stack.get(job["id"])["attempt"]) == ("succeeded", 1)
