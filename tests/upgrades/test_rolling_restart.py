from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.receivers import Receiver, answer
from tests.upgrades.site import Callers, Site

MEMBERS = ("api-1", "api-2", "inference-1", "inference-2", "io-1", "io-2", "training-1")


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
