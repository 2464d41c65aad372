from collections.abc import Callable

from tests.promises.conftest import HOLD, PLAIN, Stack


def cancel(stack: Stack, job_id: str) -> dict[str, object]:
    reply = stack.call("POST", f"/v1/predictions/{job_id}/cancel")
    assert reply.status_code == 200
    job: dict[str, object] = reply.json()
    return job


def see_a_renewal(stack: Stack) -> None:
    """Waits until the worker has renewed the one claim that there is."""

    def ends() -> float:
        ((_, end),) = stack.redis.zrange(stack.queue._keys.in_shard("claims"), 0, -1, withscores=True)
        return float(end)

    before = ends()
    stack.wait(lambda: ends() > before, "a renewal")


def test_a_waiting_job_is_canceled_with_no_worker_alive(stack: Stack) -> None:
    job, other = stack.post([1, PLAIN]), stack.post([2, PLAIN])
    assert cancel(stack, job["id"])["status"] == "canceled"
    stack.start_worker()
    assert stack.ended(other["id"])["output"] == [4]
    assert stack.get(job["id"])["status"] == "canceled"
    assert "1 0 " not in (stack.signals / "computed").read_text()


def test_a_running_job_is_canceled_at_once_and_its_batch_neighbours_are_answered(stack: Stack) -> None:
    jobs = [stack.post([1, HOLD]), stack.post([2, PLAIN]), stack.post([3, PLAIN])]
    stack.start_worker()
    stack.signaled("holding-1")
    assert cancel(stack, jobs[0]["id"])["status"] == "canceled"
    assert cancel(stack, jobs[2]["id"])["status"] == "canceled"
    stack.let_go()
    assert stack.ended(jobs[1]["id"])["output"] == [4]
    for job in (jobs[0], jobs[2]):
        ended = stack.get(job["id"])
        assert (ended["status"], ended["output"]) == ("canceled", None)


def test_jobs_taken_ahead_and_jobs_that_wait_are_canceled_while_their_worker_is_busy_and_are_not_computed(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(HEADRACE_BATCHING__MAX_BATCH_ROWS="1", HEADRACE_BATCHING__ALLOWED_BATCH_SIZES="[1]")
    stack.start_api()
    running, ahead, waiting, last = (
        stack.post([value, command])["id"] for value, command in enumerate((HOLD, PLAIN, PLAIN, PLAIN), 1)
    )
    stack.start_worker()
    stack.signaled("holding-1")
    stack.wait(lambda: stack.get(ahead)["status"] == "processing", "the take of a job while another is computed")
    assert stack.get(waiting)["status"] == "starting"
    for job in (ahead, waiting):
        assert cancel(stack, job)["status"] == "canceled"
    # The worker learns of it where it renews its claims, one after the other: all of them between two of the first.
    for _ in range(2):
        see_a_renewal(stack)
    assert stack.get(running)["status"] == "processing"
    stack.let_go()
    assert stack.ended(running)["output"] == [2] and stack.ended(last)["output"] == [8]
    assert [stack.get(job)["status"] for job in (ahead, waiting)] == ["canceled", "canceled"]
    computed = {int(line.split()[0]) for line in (stack.signals / "computed").read_text().splitlines()}
    assert computed - {0} == {1, 4}  # a warm-up is all zeros


def test_a_running_job_is_canceled_after_its_worker_died(stack: Stack) -> None:
    job = stack.post([1, HOLD])
    worker = stack.start_worker()
    stack.signaled("holding-1")
    stack.kill(worker)
    assert cancel(stack, job["id"])["status"] == "canceled"
    assert cancel(stack, job["id"])["status"] == "canceled"


def test_an_ended_job_stays_as_it_is(stack: Stack) -> None:
    stack.start_worker()
    job = stack.post([1, PLAIN], Prefer="wait")
    assert cancel(stack, job["id"])["status"] == "succeeded"
