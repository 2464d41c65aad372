from concurrent.futures import ThreadPoolExecutor

from tests.promises.conftest import MODEL, PLAIN, Stack


def test_fifty_simultaneous_posts_of_one_key_make_one_job(stack: Stack) -> None:
    with ThreadPoolExecutor(50) as clients:
        jobs = list(clients.map(lambda _: stack.post([7, PLAIN], Idempotency_Key="one"), range(50)))
    assert len({job["id"] for job in jobs}) == 1
    assert {job["status"] for job in jobs} == {"starting"}
    stack.start_worker()
    assert stack.ended(jobs[0]["id"])["output"] == [14]
    assert (stack.signals / "computed").read_text().count("7 0 ") == 1
    assert len(stack.call("GET", "/v1/predictions").json()["results"]) == 1


def test_one_key_with_another_body_is_refused(stack: Stack) -> None:
    stack.post([1, PLAIN], Idempotency_Key="k")
    reply = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [2, PLAIN]}}, Idempotency_Key="k")
    assert reply.status_code == 422


def test_a_replayed_key_of_an_ended_job_answers_with_its_end(stack: Stack) -> None:
    stack.start_worker()
    first = stack.post([3, PLAIN], Prefer="wait", Idempotency_Key="k")
    assert first["output"] == [6]
    again = stack.post([3, PLAIN], Idempotency_Key="k")
    assert (again["id"], again["output"]) == (first["id"], [6])


def test_a_deleted_job_is_not_made_again_by_its_key(stack: Stack) -> None:
    job = stack.post([3, PLAIN], Idempotency_Key="k")
    assert stack.call("DELETE", f"/v1/predictions/{job['id']}").status_code == 204
    assert stack.call("GET", f"/v1/predictions/{job['id']}").status_code == 404
    reply = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [3, PLAIN]}}, Idempotency_Key="k")
    assert reply.status_code == 404
