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
    light = dict(enumerate((1, 1, 3, 20, 2, 1, 7, 9), 1))
    # So many digits that two rows are a third of a batch in bytes and a quarter of it in rows, and seven are too many.
    heavy = dict(enumerate((2, 2, 2, 2, 2, 2, 7, 1), 1_000_000_001))
    jobs = {value: stack.post([[value, PLAIN]] * rows)["id"] for value, rows in (light | heavy).items()}
    stack.start_worker()
    ended = {value: stack.ended(job) for value, job in jobs.items()}
    assert {job["status"] for job in ended.values()} == {"succeeded"}
    assert ended[4]["output"] == [[8]] * 20

    size = {value: read.bytes for value, job in jobs.items() if (read := stack.jobs.get(job))}
    assert 33 < size[1_000_000_001] <= 50 and size[1_000_000_007] > 100
    lines = [[int(part) for part in line.split()] for line in (stack.signals / "computed").read_text().splitlines()]
    calls: list[set[int]] = []
    while lines:
        count = lines[0][2]
        assert count <= 8
        calls.append({value for value, _, _ in lines[:count]} - {0})  # a warm-up is all zeros
        del lines[:count]
    assert {value for call in calls for value in call} == set(jobs)
    assert all(len(call) == 1 or sum(size[value] for value in call) <= 100 for call in calls), calls
    assert max(job["metrics"]["batch_rows"] for value, job in ended.items() if value in light) == 8
    assert [ended[value]["metrics"]["batch_rows"] for value in list(heavy)[:7]] == [4] * 6 + [7]


def test_a_job_of_too_many_rows_is_refused(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_INFERENCE__MAX_JOB_ROWS="4")
    stack.start_api()
    reply = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [[1, PLAIN]] * 5}})
    assert reply.status_code == 413
