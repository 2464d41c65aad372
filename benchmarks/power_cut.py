"""Measures what a power cut of the Redis machine can take, and what it costs to lose nothing.

Jobs are submitted without a pause to a server with an append-only file. A probe beside them asks again and again how
long it takes until what was accepted is on the disk (``WAITAOF``); the longest such time is what a cut at the worst
moment takes. Once with ``appendfsync everysec``, once with ``always``, in one run: ``python -m benchmarks.power_cut``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.connections import open_redis
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.settings import QueueSettings, RedisSettings, Settings
from tests.conftest import RedisServer

RESULTS = Path(__file__).parent / "results"
INPUT = b'{"image":"' + b"A" * 4000 + b'"}'


def measure(fsync: str, seconds: float) -> dict[str, Any]:
    """Submits for so long to a server of its own; answers the pace and the times until acceptances were on the disk."""
    # Beside the results, which lie on a disk; temporary folders may be in memory.
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        server = RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", fsync)
        limits = QueueSettings(max_rows=10**9, account_max_rows=10**9, max_bytes=10**12, account_max_bytes=10**12)
        settings = Settings(redis=RedisSettings(url=server.url), queue=limits, data_dir=Path(folder) / "data")
        redis, probe = open_redis(settings), open_redis(settings)
        queue, over, delays = JobQueue(redis, settings), threading.Event(), list[float]()

        def look() -> None:
            while not over.is_set():
                # A write of the probe's own, since WAITAOF waits for the last write of its connection.
                with probe.client() as one:
                    began = time.monotonic()
                    one.set("probe", "1")
                    one.execute_command("WAITAOF", 1, 0, 20_000)
                    delays.append(time.monotonic() - began)

        watcher = threading.Thread(target=look)
        watcher.start()
        jobs, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            job_id = new_job_id()
            queue.submit(NewJob(job_id, JobKind.PREDICTION, "a", "k", "m@predict.cpu", "predict.cpu", INPUT))
            jobs += 1
        pace = jobs / (time.monotonic() - began)
        over.set()
        watcher.join()
        server.close()
    return {
        "submits_per_second": round(pace, 1),
        "seconds_until_on_disk": {
            "median": round(statistics.median(delays), 4),
            "longest": round(max(delays), 4),
            "probes": len(delays),
        },
    }


def main() -> None:
    """Measures as the command line says, and stores the result."""
    parser = argparse.ArgumentParser(description="Measure what a power cut can take from Redis.")
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    result: dict[str, Any] = {name: measure(name, chosen.seconds) for name in ("everysec", "always")}
    result["cost_of_always"] = round(
        result["everysec"]["submits_per_second"] / result["always"]["submits_per_second"], 2
    )
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"power-cut-{datetime.now(UTC):%Y%m%d-%H%M%S}.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
