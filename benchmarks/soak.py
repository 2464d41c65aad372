"""Plays fresh schedules of faults over the scripts for a long time: ``python -m benchmarks.soak``, or ``make soak``.

The tests play the same seeds each time; here they begin at the present second, so that each run sees new ones. What was
played, and the first rule that was broken, is kept under ``results``.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import keep
from tests.conftest import RedisServer
from tests.shared.jobs.schedules import play
from tests.shared.jobs.stage import Violation

CHUNK = 25


def soak(port: int, first: int, seconds: float) -> dict[str, Any]:
    """Plays schedules until the time is over or one breaks a rule."""
    begun, seed, steps, broken = time.monotonic(), first, 0, None
    while broken is None and time.monotonic() - begun < seconds:
        try:
            steps += play(port, range(seed, seed + CHUNK))
        except Violation as violation:
            broken = str(violation)
        seed += CHUNK
    return {
        "first_seed": first,
        "schedules": seed - first,
        "checked_steps": steps,
        "seconds": round(time.monotonic() - begun, 1),
        "broken": broken,
    }


def main() -> None:
    """Soaks as the command line says, and stores the result."""
    parser = argparse.ArgumentParser(description="Play fresh schedules of faults over the queue's scripts.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--first", type=int, default=int(time.time()), help="the first seed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), "--appendonly", "no")
        try:
            result = soak(server.port, chosen.first, chosen.minutes * 60)
        finally:
            server.close()
    path = keep("soak", result)
    sys.stdout.write(f"{result['schedules']} schedules, {result['checked_steps']} checked steps: {path}\n")
    if result["broken"]:
        raise SystemExit(result["broken"])


if __name__ == "__main__":
    main()
