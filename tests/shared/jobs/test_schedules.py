import pytest

from tests.conftest import RedisServer
from tests.shared.jobs.schedules import play


@pytest.mark.parametrize("seed", range(500))
def test_a_schedule_of_faults_breaks_no_rule(redis_server: RedisServer, seed: int) -> None:
    assert play(redis_server.port, range(seed, seed + 1)) > 0


@pytest.mark.long
@pytest.mark.parametrize("first", range(500, 5500, 100))
def test_a_hundred_schedules_of_faults_break_no_rule(redis_server: RedisServer, first: int) -> None:
    assert play(redis_server.port, range(first, first + 100)) > 0
