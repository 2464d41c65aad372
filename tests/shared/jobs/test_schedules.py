import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

HUNDREDS, THOUSANDS = 500, 5500


def play(first: int, last: int) -> int:
    """Plays the schedules of these seeds; how many held."""

    def play_every_second(start: int) -> str:
        seeds = map(str, range(start, last, 2))
        command = [sys.executable, "-m", "tests.shared.jobs.schedules", *seeds]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    # A player and its server take turns, so two pairs keep two cores busy.
    with ThreadPoolExecutor(2) as pairs:
        return sum(report.count("steps hold") for report in pairs.map(play_every_second, (first, first + 1)))


def test_hundreds_of_schedules_of_faults_break_no_rule() -> None:
    assert play(0, HUNDREDS) == HUNDREDS


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_thousands_of_schedules_of_faults_break_no_rule() -> None:
    assert play(HUNDREDS, THOUSANDS) == THOUSANDS - HUNDREDS
