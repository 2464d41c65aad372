"""Offers three times what the service can do, for minutes: ``python -m benchmarks.overload``, or ``make overload``.

In one run: the peak under a queue that is never empty, the latency of an idle submit, then clients that offer three
times the peak at an even pace, whatever they are answered; then the idle latency again. The worker's engine is a NumPy
one of the tests, which takes as long for a batch as it is told, so that the clients on the same two cores do not decide
the result. ``headrace`` itself is as ever: API, worker, io worker and Redis are processes of their own.
"""

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.figures import keep
from tests.promises.conftest import MODEL, PLAIN, Stack
from tests.promises.crowd import POOL, slow_down, submit

PATH = f"/v1/models/{MODEL}/predictions"
BATCH_ROWS, BATCH_SECONDS, WAITING_ROWS = 8, 0.2, 120
"""About 40 rows a second at most and a queue of three seconds: what a client offers is then little work for itself."""
FACTOR = 3
CLIENTS = 12
NO_REPLY = 0
"""Counted in place of a status where the connection broke."""


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return round(1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 2) if values else 0.0


class Client:
    """One kept connection and what came of its requests."""

    def __init__(self, stack: Stack) -> None:
        self._host = stack.url.removeprefix("http://")
        self._headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
        self._body = json.dumps({"input": {"x": [1, PLAIN]}})

    def open(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection(self._host, timeout=30)

    def create(self, connection: http.client.HTTPConnection) -> tuple[int, float, dict[str, Any], str]:
        """Status, seconds, reply and ``Retry-After`` of one create."""
        began = time.perf_counter()
        connection.request("POST", PATH, self._body, self._headers)
        with connection.getresponse() as reply:
            body = reply.read()
        seconds, told = time.perf_counter() - began, reply.getheader("Retry-After") or ""
        return reply.status, seconds, json.loads(body) if reply.status < 500 else {}, told

    def create_once(self) -> float:
        """How long a create takes, the second on its connection as in ``Overload.idle``."""
        with closing(self.open()) as connection:
            self.create(connection)
            return self.create(connection)[1]


class Overload:
    """One run against one service."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.client = Client(stack)
        self.statuses: Counter[int] = Counter()
        self.refusals: list[float] = []
        self.retry_after: list[int] = []
        self.promises: list[tuple[str, float, float]] = []
        self.ratios: list[float] = []
        self.memory: list[int] = []
        self._lock = threading.Lock()
        self._done = threading.Event()

    def idle(self, count: int = 200) -> list[float]:
        """How long creates take one by one, each after the job before has ended."""
        taken = []
        with closing(self.client.open()) as connection:
            self.client.create(connection)
            for _ in range(count):
                status, seconds, job, _ = self.client.create(connection)
                if status != 201:
                    raise SystemExit(f"an idle service answered {status}: {job}")
                taken.append(seconds)
                while self.waiting():
                    time.sleep(0.01)
        return taken

    def peak(self, seconds: float) -> float:
        """Jobs a second while the queue is never empty, nobody asking for more."""
        stack = self._stack
        for _ in range(WAITING_ROWS - 2 * BATCH_ROWS):
            submit(stack, [1])
        began, before = time.monotonic(), self._ended()
        while time.monotonic() - began < seconds:
            for _ in range(WAITING_ROWS - 2 * BATCH_ROWS - self.waiting()):
                submit(stack, [1])
            time.sleep(0.05)
        return (self._ended() - before) / (time.monotonic() - began)

    def offer(self, rate: float, seconds: float) -> float:
        """Offers so many creates a second; jobs that ended in a second meanwhile."""
        began, before = time.monotonic(), self._ended()
        threads = [
            threading.Thread(target=self._send, args=(number, began, rate / CLIENTS, seconds))
            for number in range(CLIENTS)
        ]
        threads.append(threading.Thread(target=self._watch))
        for thread in threads:
            thread.start()
        for thread in threads[:-1]:
            thread.join()
        reached = (self._ended() - before) / (time.monotonic() - began)
        self._done.set()
        threads[-1].join()
        return reached

    def look(self) -> None:
        """Notes of the jobs that began since the last look how long they waited, by what was promised."""
        with self._lock:
            open_, self.promises = self.promises, []
        for job_id, asked, promised in open_:
            job = self._stack.jobs.peek(job_id)
            if job is not None and job.started_at is None:
                with self._lock:
                    self.promises.append((job_id, asked, promised))
            elif job is not None and job.started_at is not None:
                self.ratios.append((job.started_at - asked) / promised)

    def _send(self, number: int, began: float, rate: float, seconds: float) -> None:
        dice = random.Random(number)
        due = began + dice.random() / rate
        with closing(self.client.open()) as connection:
            while due < began + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / rate
                try:
                    status, took, body, retry = self.client.create(connection)
                except (OSError, http.client.HTTPException):
                    connection.close()  # the next request opens it again
                    status, took, body, retry = NO_REPLY, 0.0, {}, ""
                with self._lock:
                    self.statuses[status] += 1
                    if status == 429:
                        self.refusals.append(took)
                        self.retry_after.append(int(retry))
                if status == 201 and dice.random() < 0.1:
                    job = self._stack.jobs.get(body["id"])
                    place = job and self._stack.jobs.place(job)
                    # Below half a second it is the batch under way that decides.
                    if job is not None and place is not None and (place.estimated_wait_seconds or 0) >= 0.5:
                        with self._lock:
                            self.promises.append((job.id, self._stack.jobs.now(), place.estimated_wait_seconds or 0))

    def _watch(self) -> None:
        while not self._done.wait(1.0):
            self.memory.append(int(self._stack.redis.info("memory")["used_memory"]))
            self.look()

    def waiting(self) -> int:
        """Rows in the queue."""
        return int(self._stack.redis.hget(f"headrace:{{a}}:load:{self._stack.version}@{POOL}", "rows") or 0)

    def _ended(self) -> int:
        return int(self._stack.redis.hget("headrace:{a}:totals", "prediction:succeeded") or 0)


def measure(folder: Path, minutes: float) -> dict[str, Any]:
    """All figures of one run."""
    stack = Stack(
        folder,
        HEADRACE_QUEUE__MAX_ROWS=str(WAITING_ROWS),
        HEADRACE_BATCHING__MAX_BATCH_ROWS=str(BATCH_ROWS),
        # Ended jobs go within the run, so that memory can be flat.
        HEADRACE_JOBS__RETAIN_SECONDS="10",
        HEADRACE_JOBS__RECORD_DAYS=str(10 / 86_400),
    )
    untouched = Stack(folder.with_name("untouched"))  # idle all the time, to compare with at the end
    try:
        untouched.start_api()
        control = Client(untouched)
        control.create_once()
        stack.start_api()
        slow_down(stack, stack.version, BATCH_SECONDS)
        stack.start_worker()
        run = Overload(stack)
        run.idle(20)
        idle = run.idle(60)
        peak = run.peak(15)
        reached = run.offer(FACTOR * peak, 60 * minutes)
        over = time.monotonic()
        stack.wait(lambda: run.waiting() == 0, "an empty queue", 60)
        emptied = time.monotonic() - over
        ratio, again = 99.0, 0.0
        while ratio > 1.5 and again < 60:
            pairs = [(run.idle(1)[0], control.create_once()) for _ in range(12)]
            ratio = percentile([mine for mine, _ in pairs], 0.5) / percentile([other for _, other in pairs], 0.5)
            again = time.monotonic() - over
        quiet = idle + run.idle(60)  # before and after, since other programs share the machine
        run.look()
        settled = run.memory[len(run.memory) // 3 :]  # by then the first jobs have gone
        third = max(1, len(settled) // 3)
        ratios = sorted(run.ratios)
        return {
            "minutes": minutes,
            "statuses": {str(status): count for status, count in run.statuses.items()},
            "idle_p50_ms": percentile(quiet, 0.5),
            "idle_p99_ms": percentile(quiet, 0.99),
            "refusal_p50_ms": percentile(run.refusals, 0.5),
            "refusal_p99_ms": percentile(run.refusals, 0.99),
            "refusal_p99_to_idle_p99": round(percentile(run.refusals, 0.99) / percentile(quiet, 0.99), 2),
            "peak_per_second": round(peak, 1),
            "throughput_to_peak": round(reached / peak, 3),
            "retry_after_seconds": sorted(Counter(run.retry_after).items()),
            "waits": len(ratios),
            "wait_to_promise_p50": round(ratios[len(ratios) // 2], 2),
            "wait_to_promise_p99": round(ratios[int(0.99 * len(ratios))], 2),
            "memory_growth": round(max(settled[-third:]) / max(settled[:third]), 3),
            "memory_most_mib": round(max(run.memory) / 2**20, 1),
            "emptied_after_seconds": round(emptied, 1),
            "idle_again_after_seconds": round(again, 1),
            "idle_again_p50_to_untouched_service": round(ratio, 2),
        }
    finally:
        stack.close()
        untouched.close()


LIMITS = {
    "refusal_p99_to_idle_p99": ("at most", 3.0),
    "throughput_to_peak": ("at least", 0.9),
    "wait_to_promise_p99": ("at most", 1.5),
    "memory_growth": ("at most", 1.1),
    "idle_again_after_seconds": ("at most", 10.0),
    "replies_5xx": ("at most", 0),
    "requests_without_reply": ("at most", 0),
}
"""What the issue asks for; a service with too much to do refuses, it neither fails nor hangs up."""


def table(figures: dict[str, Any]) -> tuple[str, bool]:
    """The figures with their limits, and whether all of them hold."""
    statuses = {int(status): count for status, count in figures["statuses"].items()}
    counted = {
        **figures,
        "replies_5xx": sum(count for status, count in statuses.items() if status >= 500),
        "requests_without_reply": statuses.get(NO_REPLY, 0),
    }
    lines, verdicts = [], []
    for name, (which, limit) in LIMITS.items():
        holds = counted[name] <= limit if which == "at most" else counted[name] >= limit
        verdicts.append(holds)
        lines.append(f"{name:26} {counted[name]:8}  {which} {limit}  {'holds' if holds else 'DOES NOT HOLD'}")
    return "\n".join(lines), all(verdicts)


def main() -> None:
    """Measures, prints the table and keeps the figures under ``results/``; exits with 1 where a limit does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to offer too much (default 5)")
    parser.add_argument("--no-store", action="store_true", help="keep no file under benchmarks/results")
    parser.add_argument("--of", type=Path, help="measure nothing, judge the figures that an earlier run has kept here")
    options = parser.parse_args()
    if options.of is not None:
        lines, holds = table(json.loads(options.of.read_text()))
        print(lines)
        sys.exit(not holds)
    with tempfile.TemporaryDirectory(prefix="headrace-overload-") as name:
        figures = measure(Path(name) / "stack", options.minutes)
    lines, holds = table(figures)
    print(lines)
    print(json.dumps(figures, indent=1))
    if not options.no_store:
        print(f"kept in {keep('overload', figures)}")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
