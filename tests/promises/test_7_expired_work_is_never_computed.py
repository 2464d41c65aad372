import os
import signal
from collections.abc import Callable

from shared.jobs.new_job import queue_of
from tests.promises.conftest import HOLD, MODEL, PLAIN, Stack
from tests.promises.test_1_no_job_is_ever_stuck import direct_job


def test_a_job_that_expired_while_no_worker_lived_is_not_computed(stack: Stack) -> None:
    late = direct_job(stack, [1, PLAIN], deadline_seconds=0.3)
    stack.ended(late)
    other = stack.post([2, PLAIN])
    stack.start_worker()
    assert stack.ended(other["id"])["output"] == [4]
    assert "1 0 " not in (stack.signals / "computed").read_text()


def test_a_job_that_expires_after_its_take_but_before_its_batch_is_not_computed(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(HEADRACE_BATCHING__MAX_BATCH_ROWS="1", HEADRACE_BATCHING__ALLOWED_BATCH_SIZES="[1]")
    stack.start_api()
    worker = stack.start_worker()
    os.killpg(worker.pid, signal.SIGSTOP)  # so that both jobs wait when it takes the first
    stack.post([1, HOLD])
    late = direct_job(stack, [3, PLAIN], deadline_seconds=4.0)
    os.killpg(worker.pid, signal.SIGCONT)
    stack.signaled("holding-1")
    stack.wait(lambda: stack.get(late)["status"] == "processing", "its take while the first batch computes", 3)
    ended = stack.ended(late)
    assert (ended["status"], ended["error_code"]) == ("canceled", "E1401")
    stack.let_go()
    last = stack.post([4, PLAIN], Prefer="wait")
    assert last["output"] == [8]
    assert "3 0 " not in (stack.signals / "computed").read_text()


def test_a_deadline_that_cannot_be_met_is_refused_at_the_door(stack: Stack) -> None:
    stack.start_worker()
    stack.post([1, PLAIN], Prefer="wait")
    stack.post([2, HOLD])
    stack.signaled("holding-2")
    # As if a row took ten seconds of late, with two of this account's waiting.
    pace = stack.queue._keys.in_shard("pace", queue_of(stack.version, "predict.cpu"))
    stack.redis.hset(pace, mapping={"rows": 1, "ms": 10_000})
    stack.post([3, HOLD])
    for value in (4, 5, 6):
        stack.post([value, PLAIN])
    body = {"input": {"x": [7, PLAIN]}}
    refused = stack.call("POST", f"/v1/models/{MODEL}/predictions", body, Cancel_After="5s")
    assert refused.status_code == 422
    assert refused.json()["invalid_fields"][0]["field"] == "Cancel-After"
    assert stack.call("POST", f"/v1/models/{MODEL}/predictions", body, Cancel_After="5m").status_code == 201
    stack.let_go()
