import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli.demo import HURRY_SECONDS, LIMIT_SECONDS
from cli.stages import STAGES, Stages

SHORT = """
import sys
import cli.demo
from cli.__main__ import main
cli.demo.LIMIT_SECONDS = 1.0
sys.argv = ["headrace", "demo", "--data-dir", sys.argv[1]]
main()
"""

FROZEN = """
import os, signal, sys
from pathlib import Path
from cli.demo import _in_time, _own_settings
from cli.processes import RunFile
from cli.programs import Shape
from cli.service import Service
from cli.stages import Stages
from cli.terminal import say
service = Service(_own_settings(Path(sys.argv[1])), Shape(port=0), say)
with _in_time(service, Stages(True)), service:
    os.kill(RunFile(service.folder.run_file).find("io-1").pid, signal.SIGSTOP)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    print("stopping", flush=True)
print("stopped", flush=True)
"""


def run(script: str, folder: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in (process.environ().get("HEADRACE_DATA_DIR", ""), *process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_demo_that_takes_too_long_stops_everything_and_names_the_slow_stage(
    tmp_path: Path, eventually: Callable[..., object]
) -> None:
    folder = tmp_path / "data"
    process = run(SHORT, folder)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert error.count("\n") == 1
    assert error.startswith(
        "Error: The demo was not over after 1 s and everything is stopped; the slowest stage was 'start'"
    )
    assert str(folder / "logs") in error
    eventually(lambda: not processes_of(folder), seconds=5)
    assert not (folder / "address").exists()


def test_the_limit_kills_what_keeps_the_stop_waiting(tmp_path: Path) -> None:
    process = run(FROZEN, tmp_path / "data")
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    begun = time.monotonic()
    output, error = process.communicate(timeout=60)
    assert (output, error, process.returncode) == ("stopped\n", "", 0)
    assert time.monotonic() - begun < 5
    assert not processes_of(tmp_path / "data")


def test_the_limit_leaves_time_for_the_stop() -> None:
    assert LIMIT_SECONDS + 2 * HURRY_SECONDS < 120


def test_the_slowest_stage_is_the_one_that_took_longest_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stages = Stages(is_quiet=True)
    for seconds, stage in zip((3.0, 1.0, 80.0), STAGES, strict=False):
        now += seconds
        stages.done(stage, "")
    now += 24.0
    assert stages.slowest() == ("train", 80.0, True)
    now += 60.0
    assert stages.slowest() == ("promote", 84.0, False)
