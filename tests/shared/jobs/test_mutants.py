import pytest

from tests.conftest import RedisServer
from tests.shared.jobs.mutants import ALL, QUICK
from tests.shared.jobs.schedules import play
from tests.shared.jobs.stage import Violation
from tests.shared.jobs.wire import PlantedBug, scripts


def found_after(port: int, schedules: int, bug: PlantedBug = (), careless: bool = False) -> int | None:
    for seed in range(schedules):
        try:
            play(port, range(seed, seed + 1), bug, careless)
        except Violation:
            return seed
    return None


@pytest.mark.parametrize("name", ALL)
def test_every_planted_bug_changes_a_script(name: str) -> None:
    sound = scripts()

    assert any(text != sound[script] for script, text in scripts(ALL[name]).items())


@pytest.mark.parametrize("name", QUICK)
def test_a_few_schedules_find_a_plain_bug(redis_server: RedisServer, name: str) -> None:
    assert found_after(redis_server.port, 40, ALL[name]) is not None


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_the_schedules_find_every_planted_bug(redis_server: RedisServer, name: str) -> None:
    assert found_after(redis_server.port, 500, ALL[name]) is not None


@pytest.mark.long
def test_the_schedules_find_a_worker_that_takes_suspects_beside_other_jobs(redis_server: RedisServer) -> None:
    assert found_after(redis_server.port, 500, careless=True) is not None
