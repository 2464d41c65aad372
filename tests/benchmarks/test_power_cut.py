import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.power_cut import Disk

ROOT = Path(__file__).parents[2]
AOF = "/d/appendonlydir/appendonly.aof.1.incr.aof"


def disk(folder: Path, *lines: str) -> Disk:
    trace = folder / "trace"
    trace.write_text("".join(line.replace("AOF", AOF) + "\n" for line in lines))
    return Disk.traced(trace)


def test_a_power_cut_leaves_what_was_written_before_the_last_sync_that_ended(tmp_path: Path) -> None:
    seen = disk(
        tmp_path,
        '7 10.0 write(9<AOF>, ""..., 100) = 100 <0.1>',
        "8 11.0 fdatasync(9<AOF> <unfinished ...>",
        '7 11.5 write(9<AOF>, ""..., 50) = 50 <0.1>',
        "8 12.0 <... fdatasync resumed>) = 0 <1.0>",
        "8 13.0 fdatasync(9<AOF>) = 0 <0.5>",
    )
    assert [seen.left(moment) for moment in (10.5, 11.9, 12.0, 13.4, 13.5)] == [0, 0, 100, 100, 150]


def test_what_failed_or_went_elsewhere_leaves_nothing(tmp_path: Path) -> None:
    seen = disk(
        tmp_path,
        '7 10.0 write(8</d/log>, ""..., 1000) = 1000 <0.1>',
        '7 10.2 write(9<AOF>, ""..., 100) = 100 <0.1>',
        "8 11.0 fdatasync(8</d/log>) = 0 <0.1>",
        "8 12.0 fdatasync(9<AOF>) = -1 EIO (Input/output error) <0.1>",
        "8 13.0 fdatasync(9<AOF> <unfinished ...>",
    )
    assert seen.left(99) == 0
    assert [size for _, size in seen.writes] == [100]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_power_cut_takes_seconds_at_most_and_with_always_nothing(needs: Callable[[str], str], tmp_path: Path) -> None:
    needs("strace")
    command = [sys.executable, "-m", "benchmarks.power_cut", "--seconds", "6", "--cuts", "6", "--no-store"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert result["everysec"]["lost_jobs_worst"] > 0, "a cut that takes nothing was none"
    # A sync that is slow holds the next one up; after two seconds the server waits for it.
    assert result["everysec"]["lost_seconds_worst"] < 4
    assert result["always"]["lost_jobs_worst"] == 0
    assert result["always"]["syncs"] > result["everysec"]["syncs"]
