from collections.abc import Iterator

import pytest

from tests.conftest import RedisServer
from tests.shared.jobs.mutants import ALL
from tests.shared.jobs.saturation import Saturation
from tests.shared.jobs.wire import Wire


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[Wire]:
    wire = Wire(redis_server.port)
    yield wire
    wire.close()


def test_messages_stay_few_under_saturation(wire: Wire) -> None:
    outcome = Saturation(wire, lost=0.03, doubled=0.03).run(30)

    assert outcome.takes > 2_000
    assert outcome.messages < outcome.takes / 3
    assert outcome.most_in_broker <= 8


def test_doubled_messages_do_not_live_on(wire: Wire) -> None:
    outcome = Saturation(wire, lost=0, doubled=0.1).run(30)

    assert outcome.most_in_broker <= 10


def test_no_wake_up_sleeps_longer_than_a_period(wire: Wire) -> None:
    outcome = Saturation(wire, lost=0.2, doubled=0, rush=5, sure_nudges=True).run(200)

    assert 0 < outcome.longest_sleep <= 1.0


@pytest.mark.parametrize(
    ("name", "lost", "doubled", "rush", "seconds"),
    [
        pytest.param("bell_without_token", 0, 0.1, 1e9, 30, marks=pytest.mark.long),
        ("sweep_never_rings_past_a_bell", 0.2, 0, 5, 100),
    ],
)
def test_a_bug_of_the_bells_shows_under_load(
    redis_server: RedisServer, name: str, lost: float, doubled: float, rush: float, seconds: float
) -> None:
    wire = Wire(redis_server.port, ALL[name])

    outcome = Saturation(wire, lost=lost, doubled=doubled, rush=rush, sure_nudges=True).run(seconds)

    wire.close()
    assert outcome.most_in_broker > 10 or outcome.longest_sleep > 10
