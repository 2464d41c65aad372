import threading
import time
from collections.abc import Callable

import pytest

from tests.promises.conftest import PLAIN, Stack
from tests.promises.crowd import another_model, batches, batches_before, slow_down, submit

pytestmark = pytest.mark.long
MINE = 777_777


def test_ten_thousand_jobs_of_an_account_delay_another_one_by_at_most_two_batches(stack: Stack) -> None:
    slow_down(stack, stack.version, 0.05)
    for value in range(1, 10_001):
        submit(stack, [value], account="crowd")
    stack.start_worker()
    stack.wait(lambda: len(batches(stack)) >= 5, "five batches")

    job = stack.post([MINE, PLAIN])

    begun = len(batches(stack))  # the last of them is under way
    assert stack.ended(job["id"])["output"] == [2 * MINE]
    assert batches_before(stack, MINE, begun) <= 1
    assert len(batches(stack)) < 10_000 / 64


def test_a_low_job_is_not_starved_by_high_ones_that_never_end(stack: Stack) -> None:
    slow_down(stack, stack.version, 0.05)
    stop = threading.Event()

    def crowd() -> None:
        value = 0
        while not stop.is_set():
            if stack.redis.zcard(f"headrace:{{a}}:queue:{stack.version}@predict.cpu") < 500:
                for _ in range(200):
                    value += 1
                    submit(stack, [value], account="crowd", priority="high")
            else:
                stop.wait(0.01)

    rush = threading.Thread(target=crowd)
    rush.start()
    try:
        stack.start_worker()
        stack.wait(lambda: len(batches(stack)) >= 5, "five batches")
        job = submit(stack, [MINE], priority="low")
        begun = len(batches(stack))
        assert stack.ended(job)["output"] == [2 * MINE]
        # One that is taken ahead, and ceil(16 / 64) + 1 by the shares.
        assert batches_before(stack, MINE, begun) <= 3
    finally:
        stop.set()
        rush.join()


@pytest.mark.parametrize("weight", [1, 3])
def test_two_busy_models_share_a_worker_by_their_weights(make_stack: Callable[..., Stack], weight: int) -> None:
    stack = make_stack(HEADRACE_INFERENCE__WEIGHTS=f'{{"acme/other": {weight}}}')
    stack.start_api()
    other = another_model(stack, "other")
    costs = {stack.version: (0.05, 1), other: (0.015, weight)}
    for version, (seconds, _) in costs.items():
        slow_down(stack, version, seconds)
        for _ in range(500):
            submit(stack, range(1, 65), account=version[:8], version=version)
    stack.start_worker()
    stack.wait(lambda: all(batches(stack, version) for version in costs), "a batch of each")
    before = {version: len(batches(stack, version)) for version in costs}
    until = time.monotonic() + 6

    stack.wait(lambda: time.monotonic() > until, "six seconds")

    shares = [
        (len(batches(stack, version)) - before[version]) * seconds / of for version, (seconds, of) in costs.items()
    ]
    assert jain(shares) >= 0.95, shares
    assert all(stack.redis.zcard(f"headrace:{{a}}:queue:{version}@predict.cpu") for version in costs)


def jain(shares: list[float]) -> float:
    """Jain's index of fairness, 1 where all are alike."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))
