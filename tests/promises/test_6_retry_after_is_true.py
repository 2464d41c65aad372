import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from shared.errors import TooManyRequests
from tests.promises.conftest import MODEL, PLAIN, Stack
from tests.promises.crowd import another_model, batches, slow_down, submit

pytestmark = pytest.mark.long
PATH = f"/v1/models/{MODEL}/predictions"
LIMIT, LARGE, MARK = 600, 400, 777_777


def fill(stack: Stack, rows: int, **fields: str) -> None:
    for _ in range(rows // 8):
        submit(stack, range(1, 9), **fields)


def enter(stack: Stack, value: int) -> str:
    """Submits one row as soon as there is room; the job's id."""
    while True:
        with suppress(TooManyRequests):
            return submit(stack, [value])


def crowded(make_stack: Callable[..., Stack], limit: str, workers: int, is_shared: bool = False) -> Stack:
    """A service whose workers have been at work for a while, at eight rows in a tenth of a second each."""
    stack = make_stack(**{"HEADRACE_BATCHING__MAX_BATCH_ROWS": "8", f"HEADRACE_QUEUE__{limit}": str(LIMIT)})
    stack.start_api()
    slow_down(stack, stack.version, 0.1)
    other = another_model(stack, "other") if is_shared else ""
    if other:
        slow_down(stack, other, 0.1)
    fill(stack, LIMIT)
    for _ in range(workers):
        stack.start_worker()
    until = time.monotonic() + 8

    def is_learned() -> bool:
        for fields in [{}, {"version": other, "account": "others"}][: 2 if other else 1]:
            with suppress(TooManyRequests):
                fill(stack, LIMIT, **fields)
        return time.monotonic() > until

    stack.wait(is_learned, "eight seconds of a full queue")
    return stack


@pytest.mark.parametrize(
    ("limit", "workers", "is_shared"),
    [("MAX_ROWS", 1, False), ("MAX_ROWS", 2, False), ("MAX_ROWS", 1, True), ("ACCOUNT_MAX_ROWS", 2, False)],
)
def test_there_is_room_when_retry_after_said_so_within_a_factor_of_two(
    make_stack: Callable[..., Stack], limit: str, workers: int, is_shared: bool
) -> None:
    stack = crowded(make_stack, limit, workers, is_shared)
    body = {"input": {"x": [[value, PLAIN] for value in range(1, LARGE + 1)]}}
    refused = stack.call("POST", PATH, body)
    began = time.monotonic()
    assert refused.status_code == 429, refused.text
    promised = int(refused.headers["Retry-After"])

    stack.wait(lambda: stack.call("POST", PATH, body).status_code == 201, "room", 60)

    took = time.monotonic() - began
    assert took >= 2  # a header of whole seconds can tell no less
    assert promised / 2 <= took <= 2 * promised, (promised, took)


def test_a_deadline_is_refused_where_workers_would_miss_it_and_kept_where_they_are_said_to_keep_it(
    make_stack: Callable[..., Stack],
) -> None:
    stack = crowded(make_stack, "MAX_ROWS", 2)
    body = {"input": {"x": [9, PLAIN]}}
    last = enter(stack, 1)
    wait = stack.get(last)["estimated_wait_seconds"]
    assert wait > 2

    refused = stack.call("POST", PATH, body, Cancel_After=f"{int(wait / 2)}s")
    replies = (stack.call("POST", PATH, body, Cancel_After=f"{int(2 * wait)}s") for _ in range(100))
    admitted = next(reply for reply in replies if reply.status_code != 429)

    assert refused.status_code == 422
    assert refused.json()["invalid_fields"][0]["field"] == "Cancel-After"
    assert admitted.status_code == 201
    assert stack.ended(admitted.json()["id"])["output"] == [18]


def test_jobs_begin_when_their_place_in_the_queue_said_so(make_stack: Callable[..., Stack]) -> None:
    stack = crowded(make_stack, "MAX_ROWS", 2)
    job = enter(stack, MARK)
    promised = stack.get(job)["estimated_wait_seconds"]
    began = time.monotonic()

    stack.wait(lambda: any(MARK in values for values in batches(stack)), "its batch")

    assert time.monotonic() - began <= 1.5 * promised
