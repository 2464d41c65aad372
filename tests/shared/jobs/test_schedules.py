import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import RedisServer
from tests.shared.jobs.schedules import play

FIRST, LAST = 500, 5500


@pytest.mark.parametrize("seed", range(500))
def test_a_schedule_of_faults_breaks_no_rule(redis_server: RedisServer, seed: int) -> None:
    assert play(redis_server.port, range(seed, seed + 1)) > 0


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_thousands_of_schedules_break_no_rule() -> None:
    def play_every_second(first: int) -> str:
        seeds = map(str, range(first, LAST, 2))
        command = [sys.executable, "-m", "tests.shared.jobs.schedules", *seeds]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    # A player and its server take turns, so two pairs keep two cores busy.
    with ThreadPoolExecutor(2) as pairs:
        reports = list(pairs.map(play_every_second, (FIRST, FIRST + 1)))

    assert sum(report.count("steps hold") for report in reports) == LAST - FIRST
