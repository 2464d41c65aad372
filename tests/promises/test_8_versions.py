from collections.abc import Callable
from pathlib import Path

from shared.models.signature import Signature
from tests.promises.conftest import HOLD, MODEL, PLAIN, SIGNATURE, Stack


def another_version(stack: Stack, number: int) -> str:
    owner, name = MODEL.split("/")
    return stack.registry.publish(
        owner,
        name,
        {"model.keras": Path(stack.folder / "model.keras")},
        created_at=f"2026-01-01T00:00:0{number}.000Z",
        source="import",
        job_id=f"tests-{number}",
        signature=Signature.from_json(SIGNATURE),
    ).id


def alias(stack: Stack) -> dict[str, object]:
    state: dict[str, object] = stack.call("GET", f"/v1/models/{MODEL}/aliases/production").json()
    return state


def promote(stack: Stack, version: str) -> int:
    return stack.call("PUT", f"/v1/models/{MODEL}/aliases/production", {"version": version}).status_code


def test_an_alias_moves_at_once_where_no_worker_lives(stack: Stack) -> None:
    second = another_version(stack, 2)
    assert promote(stack, second) == 200
    assert stack.post([1, PLAIN])["version"] == second


def test_an_alias_moves_only_after_every_living_worker_holds_the_version(stack: Stack) -> None:
    stack.start_worker()
    stack.start_worker()
    second = another_version(stack, 2)
    assert promote(stack, second) == 202
    stack.wait(lambda: alias(stack)["version"] == second, "the flip")
    assert len(list(stack.signals.glob(f"loaded-{second}-*"))) == 2
    assert stack.post([1, PLAIN], Prefer="wait")["version"] == second
    reply = stack.call("POST", f"/v1/models/{MODEL}/aliases/production/rollback")
    assert reply.status_code in (200, 202)
    stack.wait(lambda: alias(stack)["version"] == stack.version, "the rollback")


def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_serves_on(stack: Stack) -> None:
    stack.start_worker()
    broken = another_version(stack, 3)
    (stack.signals / f"broken-{broken}").touch()
    assert promote(stack, broken) in (202, 409)  # 409 where the worker was quick to say no
    stack.wait(lambda: (alias(stack)["pending"] or {}).get("failed"), "the refusal")  # type: ignore[attr-defined]
    job = stack.post([2, PLAIN], Prefer="wait")
    assert (job["version"], job["output"]) == (stack.version, [4])


def test_a_job_keeps_the_version_that_it_was_admitted_for(stack: Stack) -> None:
    job = stack.post([1, PLAIN])
    second = another_version(stack, 2)
    assert promote(stack, second) == 200
    stack.start_worker()
    assert stack.ended(job["id"])["version"] == stack.version
    assert stack.post([1, PLAIN], Prefer="wait")["version"] == second


def test_three_failed_loads_make_a_version_unloadable_until_it_is_reset(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(HEADRACE_INFERENCE__MAX_LOAD_FAILURES="2")
    stack.start_api()
    broken = another_version(stack, 3)
    (stack.signals / f"broken-{broken}").touch()
    stack.start_worker()

    def post() -> tuple[int, dict[str, str]]:
        reply = stack.call("POST", "/v1/predictions", {"version": broken, "input": {"x": [1, PLAIN]}})
        return reply.status_code, reply.json()

    # One failed load ends no job: it is tried again, and the last failure ends what waits.
    jobs = [post() for _ in range(3)]
    for status, job in jobs:
        assert status == 201
        assert stack.ended(job["id"])["error_code"] == "E1201"
    loads = list(stack.signals.glob(f"failed-{broken}-*"))
    assert len(loads) == 2
    stack.wait(lambda: post()[0] == 422, "the refusal")
    (stack.signals / f"broken-{broken}").unlink()
    assert stack.call("POST", f"/v1/models/{MODEL}/versions/{broken}/reset").status_code == 200
    stack.wait(lambda: post()[0] == 201, "the admission")
    status, job = post()
    ended = stack.ended(job["id"])
    assert (ended["error"], ended["output"]) == (None, [2])


def test_a_deleted_version_fails_its_waiting_jobs_at_once(stack: Stack) -> None:
    second = another_version(stack, 2)
    path = f"/v1/models/{MODEL}/versions/"
    assert stack.call("DELETE", path + stack.version).status_code == 409
    reply = stack.call("POST", "/v1/predictions", {"version": second, "input": {"x": [1, PLAIN]}})
    assert stack.call("DELETE", path + second).status_code == 204
    assert stack.get(reply.json()["id"])["error_code"] == "E1202"


def test_two_busy_versions_share_one_worker(stack: Stack) -> None:
    second = another_version(stack, 2)
    first = [stack.post([value, PLAIN])["id"] for value in range(5)]
    bodies = [{"version": second, "input": {"x": [value, PLAIN]}} for value in range(5)]
    others = [stack.call("POST", "/v1/predictions", body).json()["id"] for body in bodies]
    stack.start_worker()
    for value, (a, b) in enumerate(zip(first, others, strict=True)):
        assert stack.ended(a)["output"] == stack.ended(b)["output"] == [2 * value]


def test_a_version_that_waits_for_its_turn_is_served_while_another_is_busy(stack: Stack) -> None:
    stack.start_worker()
    held = stack.post([1, HOLD])
    stack.signaled("holding-1")
    second = another_version(stack, 2)
    job = stack.call("POST", "/v1/predictions", {"version": second, "input": {"x": [3, PLAIN]}}).json()
    stack.let_go()
    assert stack.ended(job["id"])["output"] == [6]
    assert stack.ended(held["id"])["output"] == [2]
