from tests.promises.conftest import HOLD, PLAIN, Stack


def cancel(stack: Stack, job_id: str) -> dict[str, object]:
    reply = stack.call("POST", f"/v1/predictions/{job_id}/cancel")
    assert reply.status_code == 200
    job: dict[str, object] = reply.json()
    return job


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
