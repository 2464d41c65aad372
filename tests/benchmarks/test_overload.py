import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "statuses": {"201": 3488, "429": 6329},
    "refusal_p99_to_idle_p99": 0.98,
    "throughput_to_peak": 1.06,
    "wait_to_promise_p99": 1.13,
    "memory_growth": 0.99,
    "idle_again_after_seconds": 5.7,
}


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.overload", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, []),
        ({"refusal_p99_to_idle_p99": 3.01}, ["refusal_p99_to_idle_p99"]),
        ({"throughput_to_peak": 0.89}, ["throughput_to_peak"]),
        ({"statuses": {"201": 3488, "429": 6329, "503": 1}}, ["replies_5xx"]),
        ({"statuses": {"201": 3488, "429": 6329, "0": 2}}, ["requests_without_reply"]),
    ],
)
def test_it_exits_with_1_where_a_limit_does_not_hold(tmp_path: Path, change: dict[str, Any], broken: list[str]) -> None:
    file = tmp_path / "overload.json"
    file.write_text(json.dumps(GOOD | change))
    done = run("--of", str(file))
    assert done.returncode == bool(broken), done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if "DOES NOT HOLD" in line] == broken
    assert sum(line.endswith(" holds") for line in lines) == 7 - len(broken)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_status_of_a_run_is_that_of_its_table() -> None:
    done = run("--minutes", "0.3", "--no-store")
    assert "replies_5xx" in done.stdout, done.stderr
    assert done.returncode == ("DOES NOT HOLD" in done.stdout)
