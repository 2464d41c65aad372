import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.receivers import Receiver, answer
from tests.upgrades.site import Callers, Site

MEMBERS = (
    "api-1", "api-2", "inference-1", "inference-2", "io-1", "io-2", "preparing-1", "preparing-2", "training-1",
)  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(answer(200))
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_rolling_restart_of_every_kind_under_load_answers_no_5xx_drops_no_request_and_loses_nothing(
    make_site: Callable[..., Site], receiver: Receiver
) -> None:
    site = make_site()
    site.start_all(*MEMBERS)
    callers = Callers(site, receiver.url)
    callers.start()
    seconds = {name: round(site.restart(name), 1) for name in MEMBERS}
    callers.stop()
    print(callers.replies, len(callers.accepted), seconds)
    assert set(callers.replies) == {"201"}
    assert len(callers.accepted) > 200
    outcomes: Counter[str] = Counter()
    for job_id, value in callers.accepted.items():
        job = site.ended(job_id)
        outcomes[job["status"]] += 1
        assert job["output"] == [2 * value], job
    assert set(outcomes) == {"succeeded"}
    expected = {job_id for job_id, value in callers.accepted.items() if value % 1_000_000 % 3 == 0}
    site.wait(lambda: {request.json()["id"] for request in receiver.requests} == expected, "every webhook")
    # One id for each end, however often it was sent.
    assert len({request.id for request in receiver.requests}) == len(expected)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_rolling_restart_of_the_workers_of_long_jobs_under_load_loses_none(make_site: Callable[..., Site]) -> None:
    site = make_site(HEADRACE_QUEUE__LEASE_SECONDS="120")
    site.start_all("api-1", "preparing-1", "preparing-2", "training-1")
    assert site.ended(site.push_dataset("first"), 120)["status"] == "succeeded"
    training = site.train("first", epochs=300)

    def told(field: str) -> str:
        return (site.redis.hget(f"headrace:{{a}}:data:{training}", field) or b"").decode()  # type: ignore[union-attr]

    site.wait(lambda: json.loads(told("progress") or "{}").get("epoch", 0) >= 1, "an epoch", 180)
    stop, pushed = threading.Event(), []

    def push() -> None:
        while not stop.is_set():
            pushed.append(site.push_dataset(f"more-{len(pushed)}", count=3000))
            stop.wait(0.5)

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        for name in ("training-1", "preparing-1", "preparing-2"):
            # Each is stopped while it has a job: the claims say whose.
            site.wait(lambda: site.redis.zcard("headrace:{a}:claims") > 1, "work for both kinds", 60)
            site.restart(name)
    finally:
        stop.set()
        pusher.join(90)
    preparations = [site.ended(job_id, 200) for job_id in pushed]
    assert len(preparations) > 3
    assert {job["status"] for job in preparations} == {"succeeded"}
    trained = site.ended(training, 300)
    assert (trained["status"], trained["attempt"]) == ("succeeded", 2), trained
    assert "going on after epoch" in told("logs")
