import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "demo", "--data-dir", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)


def processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HEADRACE_DATA_DIR={folder}".encode() in path.read_bytes().split(b"\0"):
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_the_demo_shows_everything_in_time_and_its_last_words_work(
    tmp_path: Path, eventually: Callable[..., object]
) -> None:
    folder = tmp_path / "demo folder"
    figures = demo(folder, "--json")
    assert figures.returncode == 0, figures.stderr
    found = json.loads(figures.stdout)
    assert found["seconds"]["total"] < 120
    assert min(found["training"]["accuracy"], found["training"]["macro_f1"]) >= 0.93
    assert found["predictions"]["jobs"] == 1000
    assert found["predictions"]["right"] >= 930
    assert found["predictions"]["batch_rows"]["mean"] > 1.5
    assert found["webhook"]["verified"] is True and found["webhook"]["id"].startswith("msg_")
    assert found["canceled"]["status"] == "canceled"
    assert processes_of(folder) == []

    told = demo(folder)
    assert told.returncode == 0, told.stderr
    assert "Everything is stopped" in told.stdout
    commands = [shlex.split(line) for line in told.stderr.splitlines() if line.startswith("  ")]
    assert [command[1] for command in commands][:2] == ["up", "predict"]
    up = subprocess.Popen(commands[0], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually((folder / "address").exists, seconds=60)
        for command in commands[1:]:
            run = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment(), check=False)
            assert run.returncode == 0, (command, run.stderr)
    finally:
        up.terminate()
        begun = time.monotonic()
        up.wait(30)
    assert time.monotonic() - begun < 10
    assert processes_of(folder) == []
