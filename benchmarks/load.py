"""The load generator, a process of its own: keep-alive connections over plain sockets, every answer checked.

Prints JSON. ``saturate``: closed loop, each client sends its next request when the last one is answered. ``light``: 20
requests a second, latency. ``submit``: as ``saturate``, but nobody waits for the job.
"""

import argparse
import base64
import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks import work


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


class Load:
    """One run against one address."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.outcomes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.batch_rows: list[int] = []
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        if options.mode == "empty":
            self.bodies, self.right = [b'{"input": "' + b"x" * 3800 + b'"}'], [0]
        else:
            pngs = work.images(options.folder)
            self.right = work.expected(options.folder)
            self.bodies = [
                json.dumps({"input": {"image": "data:image/png;base64," + base64.b64encode(png).decode()}}).encode()
                for png in pngs
            ]

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.options.port, timeout=60)

    def one(self, connection: http.client.HTTPConnection) -> None:
        """Sends one request and notes what came of it."""
        number = next(self.numbers) % len(self.bodies)
        headers = {"Authorization": f"Bearer {self.options.key}", "Content-Type": "application/json"}
        if self.options.mode in ("saturate", "light"):
            headers["Prefer"] = "wait"
        began = time.perf_counter()
        try:
            connection.request("POST", self.options.path, self.bodies[number], headers)
            reply = connection.getresponse()
            body = reply.read()
        except OSError as error:
            connection.close()
            outcome = type(error).__name__
        else:
            outcome = self.judge(reply.status, body, number)
        took = (time.perf_counter() - began) * 1000
        with self.lock:
            self.outcomes[outcome] += 1
            if outcome == "right":
                self.latencies.append(took)

    def judge(self, status: int, body: bytes, number: int) -> str:
        """What a reply was: right, wrong, or how it failed."""
        if status != 201:
            return f"http_{status}"
        if self.options.mode in ("empty", "submit"):
            return "right"
        job = json.loads(body)
        if job["status"] != "succeeded":
            return str(job["status"])
        with self.lock:
            self.batch_rows.append(job["metrics"].get("batch_rows", 0))
        return "right" if job["output"]["label"] == work.LABELS[self.right[number]] else "wrong"

    def closed(self, until: float) -> None:
        """One client of a closed loop."""
        connection = self.connect()
        while time.perf_counter() < until:
            self.one(connection)

    def run(self) -> dict[str, object]:
        """Runs the mode and returns its figures."""
        options = self.options
        began = time.perf_counter()
        if options.mode == "light":
            connection = self.connect()
            for number in range(int(options.seconds * 20)):
                time.sleep(max(0.0, began + number / 20 - time.perf_counter()))
                self.one(connection)
        else:
            until = began + options.seconds
            clients = [threading.Thread(target=self.closed, args=(until,)) for _ in range(options.clients)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        wall = time.perf_counter() - began
        right = self.outcomes["right"]
        return {
            "outcomes": dict(self.outcomes),
            "per_second": round(right / wall, 1),
            "right": right,
            "p50_ms": _percentile(self.latencies, 0.5),
            "p99_ms": _percentile(self.latencies, 0.99),
            "batch_rows_mean": round(sum(self.batch_rows) / len(self.batch_rows), 1) if self.batch_rows else None,
        }


def main() -> None:
    """Reads the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("saturate", "light", "submit", "empty"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--key", default="")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    json.dump(Load(parser.parse_args()).run(), sys.stdout)


if __name__ == "__main__":
    main()
