from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.promises.conftest import MODEL, PLAIN, Stack


def test_a_queue_never_holds_more_rows_than_it_may(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_QUEUE__MAX_ROWS="10")
    stack.start_api()

    def post(value: int) -> int:
        body = {"input": {"x": [[value, PLAIN]] * (1 + value % 3)}}
        return stack.call("POST", f"/v1/models/{MODEL}/predictions", body).status_code

    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(post, range(30)))
    assert set(replies) == {201, 429}
    waiting = [job["rows"] for job in stack.call("GET", "/v1/predictions").json()["results"]]
    assert 8 <= sum(waiting) <= 10
    assert len(waiting) == replies.count(201)


def test_a_batch_never_holds_more_rows_or_bytes_than_it_may(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(
        HEADRACE_BATCHING__MAX_BATCH_ROWS="8",
        HEADRACE_BATCHING__ALLOWED_BATCH_SIZES="[1,2,4,8]",
        HEADRACE_BATCHING__MAX_BATCH_BYTES="100",
    )
    stack.start_api()
    jobs = [stack.post([[value, PLAIN]] * rows) for value, rows in enumerate((1, 1, 3, 20, 2, 1, 7, 9), 1)]
    stack.start_worker()
    for job in jobs:
        assert stack.ended(job["id"])["status"] == "succeeded"
    sizes = [int(line.split()[2]) for line in (stack.signals / "computed").read_text().splitlines()]
    assert max(sizes) == 8
    assert stack.get(jobs[3]["id"])["output"] == [[8]] * 20


def test_a_job_of_too_many_rows_is_refused(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_INFERENCE__MAX_JOB_ROWS="4")
    stack.start_api()
    reply = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [[1, PLAIN]] * 5}})
    assert reply.status_code == 413
