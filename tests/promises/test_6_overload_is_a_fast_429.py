from collections.abc import Callable

import pytest

from shared.errors import TooManyRequests
from tests.promises.conftest import MODEL, PLAIN, Stack
from tests.promises.crowd import submit


def test_a_full_queue_answers_429_with_a_small_whole_retry_after(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_QUEUE__MAX_ROWS="5")
    stack.start_api()
    admitted = [stack.post([value, PLAIN]) for value in range(5)]
    refused = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [9, PLAIN]}})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    stack.start_worker()
    for value, job in enumerate(admitted):
        assert stack.ended(job["id"])["output"] == [2 * value]
    assert stack.post([9, PLAIN], Prefer="wait")["output"] == [18]


def test_an_account_at_its_limit_leaves_room_for_another(make_stack: Callable[..., Stack]) -> None:
    from shared.api_keys import ApiKeys

    stack = make_stack(HEADRACE_QUEUE__ACCOUNT_MAX_ROWS="3")
    stack.start_api()
    for value in range(3):
        stack.post([value, PLAIN])
    body = {"input": {"x": [9, PLAIN]}}
    assert stack.call("POST", f"/v1/models/{MODEL}/predictions", body).status_code == 429
    stack.key, _ = ApiKeys(stack.redis, stack.settings).create("other", "tests", ["admin"])
    assert stack.call("POST", f"/v1/models/{MODEL}/predictions", body).status_code == 201


def test_admission_bounds_the_memory_of_redis(make_stack: Callable[..., Stack]) -> None:
    limit = 500_000
    stack = make_stack(HEADRACE_QUEUE__MAX_BYTES=str(limit))

    def memory() -> int:
        # The data alone: buffers of connections and of the append-only file come and go.
        return int(stack.redis.info("memory")["used_memory_dataset"])

    empty = memory()
    with pytest.raises(TooManyRequests):
        while True:
            submit(stack, range(1, 1001))
    full = memory()
    for _ in range(100):
        with pytest.raises(TooManyRequests):
            submit(stack, range(1, 1001))
    assert limit * 0.9 < full - empty < 2 * limit
    assert memory() - full < limit / 10
