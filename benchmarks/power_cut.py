"""What a power cut takes: ``python -m benchmarks.power_cut``, or ``make power-cut``.

A power cut leaves of a file what was written before the last sync began that ended in time. The server runs under
``strace``, which says when it wrote how much of its append-only file and when it synced it; callers write down what was
answered. Then the machine loses its power at many moments: the file is cut where it would end, a server starts from
it, and what was answered before that moment and is not there is lost. Both settings of ``redis.append_fsync`` are
measured, and what a submit costs under each. Needs ``strace``; other tools that trace the same server keep it out.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis as redis_client

from benchmarks.figures import keep
from shared.artifacts import open_artifacts
from shared.connections import open_redis
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.queue import JobQueue
from shared.jobs.sweeps import Sweeper
from shared.settings import QueueSettings, RedisSettings, Settings
from tests.conftest import RedisServer
from tests.shared.jobs.wire import Wire, text

POOL = "predict.cpu"
VERSION = queue_of("0" * 64, POOL)
CALLERS = 4
SIDE = 1 << 20
# "812 1700000000.123456 write(9</x/appendonly.aof.1.incr.aof>, ""..., 312) = 312 <0.000012>", or in two lines
_CALL = re.compile(
    r"^(\d+) +([\d.]+) (write|fdatasync|fsync)\(\d+<([^>]*)>.*?(?:= (-?\d+) <([\d.]+)>|<unfinished ...>)"
)
_RESUMED = re.compile(r"^(\d+) +([\d.]+) <\.\.\. (write|fdatasync|fsync) resumed>.*= (-?\d+) <([\d.]+)>")


class Server(RedisServer):
    """A server with an append-only file in a folder; what is traced ends up in ``trace``."""

    def __init__(self, folder: Path, fsync: str, trace: Path | None = None) -> None:
        tracer = ("strace", "-f", "-y", "-ttt", "-T", "-s", "0", "-e", "trace=write,fdatasync,fsync", "-o", str(trace))
        options = ("--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0")
        super().__init__(folder, *options, under=tracer if trace else ())
        settings = Settings(
            redis=RedisSettings(url=self.url), data_dir=folder / "data", queue=QueueSettings(lease_seconds=0.2)
        )
        self.redis = open_redis(settings)
        self.queue = JobQueue(self.redis, settings)
        self.sweeper = Sweeper(self.redis, settings, open_artifacts(settings))

    def statuses(self, job_ids: Sequence[str]) -> list[str]:
        """The status of each job, nothing for one that is not there."""
        pipe = self.redis.pipeline(transaction=False)
        for id_ in job_ids:
            pipe.hget(f"headrace:{{{id_[0]}}}:job:{id_}", "status")
        return [(status or b"").decode() for status in pipe.execute()]

    def answer(self) -> list[str]:
        """Answers what waits; the ids."""
        taken = self.queue.take(VERSION, POOL, max_rows=64, max_bytes=SIDE, hard_seconds=60, solo=True)
        if not taken.jobs:
            taken = self.queue.take(f"{VERSION}!", POOL, max_rows=64, max_bytes=SIDE, hard_seconds=60, solo=True)
        self.queue.settle(taken.claim, [Outcome(job.id, job.attempt, b"2") for job in taken.jobs])
        return [job.id for job in taken.jobs]

    def check(self) -> list[str]:
        """What does not fit together in all that the server holds."""
        wire = Wire(self.port)
        found: list[str] = text(wire.do(*wire.script("check", 0, 64, SIDE, 30 * 86_400_000, 86_400_000)))
        wire.close()
        return found

    def end(self) -> None:
        """Ends it at once, under a tracer too."""
        with suppress(redis_client.ConnectionError):
            pid = int(self.redis.info("server")["process_id"])
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.redis.close()


@dataclass
class Answered:
    """What was answered, and when."""

    submits: list[tuple[float, str]] = field(default_factory=list)
    ends: list[tuple[float, str]] = field(default_factory=list)


def use(server: Server, seconds: float, callers: int = CALLERS) -> Answered:
    """Callers submit, one worker answers, until the time is over."""
    answered, until = Answered(), time.monotonic() + seconds

    def call() -> None:
        while time.monotonic() < until:
            new = NewJob(
                id=new_job_id(), kind=JobKind.PREDICTION, account="a", key_id="k", queue=VERSION, pool=POOL,
                input=b'{"x": 1}',
            )  # fmt: skip
            server.queue.submit(new)
            answered.submits.append((time.time(), new.id))

    def work() -> None:
        while time.monotonic() < until:
            done = server.answer()
            answered.ends += [(time.time(), id_) for id_ in done]
            if not done:
                time.sleep(0.005)

    threads = [threading.Thread(target=run) for run in [call] * callers + [work]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answered


@dataclass
class Disk:
    """The append-only file as the disk sees it."""

    writes: list[tuple[float, int]]
    """When a write had ended, and the size of the file then."""
    syncs: list[tuple[float, float, int]]
    """When a sync began and ended, and the size of the file when it began."""

    @classmethod
    def traced(cls, trace: Path) -> "Disk":
        """Reads what strace has written down."""
        begun: dict[str, tuple[float, str]] = {}
        sizes: list[tuple[float, int]] = []
        spans: list[tuple[float, float]] = []
        for line in trace.read_text().splitlines():
            if match := _CALL.match(line):
                pid, at, name, path, result, took = match.groups()
                if not path.endswith(".incr.aof"):
                    continue
                if result is None:
                    begun[pid] = float(at), name
                    continue
            elif match := _RESUMED.match(line):
                pid, _, name, result, took = match.groups()
                if pid not in begun:
                    continue
                at = str(begun.pop(pid)[0])
            else:
                continue
            end = float(at) + float(took)
            if name == "write":
                sizes.append((end, int(result)))
            elif result == "0":
                spans.append((float(at), end))
        total, writes = 0, []
        for at_, size in sorted(sizes):
            total += size
            writes.append((at_, total))
        return cls(writes, [(start, end, _size_at(writes, start)) for start, end in sorted(spans)])

    def left(self, moment: float) -> int:
        """Bytes that a power cut at a moment leaves for sure."""
        return max((size for _, end, size in self.syncs if end <= moment), default=0)


def _size_at(writes: list[tuple[float, int]], moment: float) -> int:
    return max((size for at, size in writes if at <= moment), default=0)


def cut(source: Path, left: int, folder: Path, answered: Answered, moment: float) -> dict[str, Any]:
    """Loses the power at a moment: what is gone of what was answered before, and whether the rest goes on."""
    folder.mkdir()
    shutil.copytree(source / "appendonlydir", folder / "appendonlydir")
    (file,) = (folder / "appendonlydir").glob("*.incr.aof")
    with file.open("rb+") as opened:
        opened.truncate(left)
    server = Server(folder, "no")
    submits = [(at, id_) for at, id_ in answered.submits if at <= moment]
    ends = [(at, id_) for at, id_ in answered.ends if at <= moment]
    there = server.statuses([id_ for _, id_ in submits])
    lost = [at for (at, _), status in zip(submits, there, strict=True) if not status]
    ended = server.statuses([id_ for _, id_ in ends])
    again = [at for (at, _), status in zip(ends, ended, strict=True) if status not in ("", "succeeded")]
    broken = server.check()
    time.sleep(0.3)  # the leases of what was running end
    server.sweeper.reclaim()
    while server.answer():
        pass
    left_open = set(server.statuses([id_ for _, id_ in submits])) - {"", "succeeded"}
    server.end()
    shutil.rmtree(folder)
    return {
        "lost_jobs": len(lost),
        "lost_seconds": round(moment - min(lost), 3) if lost else 0.0,
        "computed_again": len(again),
        "broken": [*broken, *(f"a job stayed {status}" for status in left_open)],
    }


def measure(folder: Path, fsync: str, seconds: float, cuts: int, dice: random.Random) -> dict[str, Any]:
    """Uses a server for a while and loses the power ``cuts`` times."""
    source = folder / f"{fsync}-source"
    source.mkdir()
    server = Server(source, fsync, folder / f"{fsync}-trace")
    begun = time.time()
    answered = use(server, seconds)
    server.end()
    disk = Disk.traced(folder / f"{fsync}-trace")
    if not disk.writes or not disk.syncs:
        raise SystemExit(f"strace saw no writes or no syncs of the append-only file: {folder / f'{fsync}-trace'}")
    # The worst moments are right before a sync ends; the others are anywhere.
    worst = [end - 1e-6 for _, end, _ in dice.sample(disk.syncs[1:], min(cuts // 2, len(disk.syncs) - 1))]
    anywhere = [dice.uniform(begun + 2, begun + seconds) for _ in range(cuts - len(worst))]
    results = []
    for number, moment in enumerate([*worst, *anywhere]):
        results.append(cut(source, disk.left(moment), folder / f"{fsync}-{number}", answered, moment))
        print(f"{fsync}: cut {number + 1} of {cuts}: {results[-1]}", file=sys.stderr)
    shutil.rmtree(source)
    return {
        "accepted": len(answered.submits),
        "syncs": len(disk.syncs),
        "cuts": len(results),
        "lost_jobs_worst": max(result["lost_jobs"] for result in results),
        "lost_seconds_worst": max(result["lost_seconds"] for result in results),
        "lost_seconds_median": statistics.median(result["lost_seconds"] for result in results),
        "computed_again_worst": max(result["computed_again"] for result in results),
        "broken": [sentence for result in results for sentence in result["broken"]],
    }


def cost(folder: Path, seconds: float) -> dict[str, Any]:
    """Submits in a second under each setting, by one caller and by sixteen, by turns and without a tracer."""
    rates: dict[str, list[float]] = {}
    for turn in range(4):
        for fsync in ("everysec", "always") if turn % 2 else ("always", "everysec"):
            for callers in (1, 16):
                place = folder / f"cost-{turn}-{fsync}-{callers}"
                place.mkdir()
                server = Server(place, fsync)
                answered = use(server, seconds, callers)
                server.end()
                rates.setdefault(f"{fsync}, {callers}", []).append(len(answered.submits) / seconds)
                shutil.rmtree(place)
    median = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        "submits_per_second": median,
        "everysec_to_always": {
            callers: round(median[f"everysec, {callers}"] / median[f"always, {callers}"], 2) for callers in (1, 16)
        },
    }


def main() -> None:
    """Reads the command line, prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power_cut", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each use (default 20)")
    parser.add_argument("--cuts", type=int, default=20, help="how often the power is lost, each setting (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments (default 1)")
    parser.add_argument(
        "--folder", type=Path, help="where the server writes: its disk is measured (default: temporary)"
    )
    parser.add_argument("--no-store", action="store_true", help="keep no file under benchmarks/results")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed: it says what the disk has. On Debian: apt-get install strace")
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="headrace-power-", dir=options.folder) as name:
        folder = Path(name)
        results = {
            fsync: measure(folder, fsync, options.seconds, options.cuts, dice) for fsync in ("everysec", "always")
        }
        results["cost"] = cost(folder, options.seconds / 4)
    print(json.dumps(results, indent=1))
    if not options.no_store:
        print(f"kept in {keep('power-cut', results)}", file=sys.stderr)
    sys.exit(any(results[fsync]["broken"] for fsync in ("everysec", "always")))


if __name__ == "__main__":
    main()
