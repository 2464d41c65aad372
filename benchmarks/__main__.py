"""Runs the benchmark: ``python -m benchmarks``, or ``make bench``.

In one run and on one machine: the bare work, an empty Flask reply, and the whole service that ``headrace up`` starts.
Ratios between them hold from machine to machine, absolute figures do not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import figures, work

MODEL = "bench/cifar"
ROLES = (("valkey-server", "redis"), ("granian", "api"), ("predict.", "worker"), ("Q io", "io"))


def python(*arguments: str, timeout: float = 300) -> Any:
    """Runs one of our programs and returns the JSON that it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def cpu_seconds(root: psutil.Process) -> dict[str, float]:
    """CPU time used so far by a process and what it started, by role."""
    used: dict[str, float] = defaultdict(float)
    for process in [root, *root.children(recursive=True)]:
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        role = next((role for mark, role in ROLES if mark in command), "other")
        used[role] += times.user + times.system
    return used


def load(mode: str, folder: Path, root: psutil.Process, **options: object) -> dict[str, Any]:
    """Runs the load generator and adds the CPU that the service used for each right answer, in microseconds."""
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    before = cpu_seconds(root)
    measured: dict[str, Any] = python("-m", "benchmarks.load", mode, str(folder), *arguments)
    after = cpu_seconds(root)
    right = max(1, measured["right"])
    cpu = {role: round((after[role] - before[role]) / right * 1e6, 1) for role in sorted(after)}
    return measured | {"cpu_us": cpu, "cpu_us_all": round(sum(cpu.values()), 1)}


@contextmanager
def empty_flask(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """An API process that answers with nothing."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "benchmarks.empty_app:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--blocking-threads", "256", "--no-ws"]
    with (folder / "empty.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    request = urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}", method="POST")
                    urllib.request.urlopen(request, timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            yield psutil.Process(server.pid), port
        finally:
            server.terminate()


@contextmanager
def service(folder: Path, code: Path = figures.ROOT) -> Iterator[tuple[psutil.Process, int, str]]:
    """The whole service of a checkout with the model in production; its process, port and key."""
    data, env = folder / "data", os.environ | {"PYTHONPATH": str(code)}
    headrace = str(Path(sys.executable).parent / "headrace")
    up = [headrace, "up", "--data-dir", str(data), "--port", "0"]
    with (folder / "up.log").open("wb") as log, subprocess.Popen(up, stdout=log, stderr=log, env=env) as server:
        try:
            address = data / "address"
            until = time.monotonic() + 90
            while not address.exists():
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"headrace up did not start: {(folder / 'up.log').read_text()[-3000:]}")
                time.sleep(0.1)
            push = [headrace, "models", "push", str(folder / "model.keras"), "--name", MODEL]
            push += ["--labels", ",".join(work.LABELS), "--alias", "production", "--data-dir", str(data)]
            subprocess.run(push, check=True, stdout=subprocess.DEVNULL, timeout=180, env=env)
            port = int(address.read_text().strip().rpartition(":")[2].strip("/"))
            key = (data / "api-key").read_text().strip()
            wait_for_production(port, key)
            yield psutil.Process(server.pid), port, key
        finally:
            server.terminate()


def wait_for_production(port: int, key: str) -> None:
    """Returns once the worker holds the model and the alias has moved."""
    path = f"http://127.0.0.1:{port}/v1/models/{MODEL}/aliases/production"
    request = urllib.request.Request(path, headers={"Authorization": f"Bearer {key}"})
    until = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(request, timeout=5) as reply:
            if json.load(reply)["version"]:
                return
        if time.monotonic() > until:
            raise SystemExit("the model did not reach production within a minute")
        time.sleep(0.1)


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """All figures of one run."""
    # In a process of its own: the bare run sets TensorFlow's threads, which must come first.
    subprocess.run([sys.executable, "-m", "benchmarks.work", str(folder)], check=True, stderr=subprocess.DEVNULL)
    bare = ("-m", "benchmarks.bare", str(folder), "--seconds", str(seconds))
    results: dict[str, Any] = {"bare": python(*bare)}
    with empty_flask(folder) as (process, port):
        results["empty_flask"] = load("empty", folder, process, port=port, seconds=seconds, clients=16)
    with service(folder) as (process, port, key):
        common = {"port": port, "key": key, "path": f"/v1/models/{MODEL}/predictions"}
        load("light", folder, process, seconds=2, **common)  # warms connections and the model
        results["light"] = load("light", folder, process, seconds=seconds, **common)
        results["saturate"] = load("saturate", folder, process, seconds=seconds, **common)
        results["submit"] = load("submit", folder, process, seconds=seconds, clients=16, **common)
    results["bare_again"] = python(*bare)
    return results


def table(results: dict[str, Any]) -> str:
    """The figures as text, ratios first."""
    bare = (results["bare"]["cpu_us"] + results["bare_again"]["cpu_us"]) / 2
    rate = (results["bare"]["images_per_second"] + results["bare_again"]["images_per_second"]) / 2
    empty = results["empty_flask"]["cpu_us_all"]
    saturate, submit, light = results["saturate"], results["submit"], results["light"]
    alone = (results["bare"]["alone_p50_ms"] + results["bare_again"]["alone_p50_ms"]) / 2
    lines = [
        f"bare work            {bare:8.0f} us CPU a picture, {rate:.0f} pictures/s, one alone {alone:.2f} ms",
        f"empty Flask reply    {empty:8.0f} us CPU",
        f"saturate, 64 clients {saturate['cpu_us_all']:8.0f} us CPU a job = {saturate['cpu_us_all'] / bare:.1f} x bare"
        f" (API {saturate['cpu_us'].get('api', 0):.0f}, worker {saturate['cpu_us'].get('worker', 0):.0f},"
        f" Redis {saturate['cpu_us'].get('redis', 0):.0f})",
        f"                     {saturate['per_second']:8.0f} jobs/s = {saturate['per_second'] / rate:.2f} x bare,"
        f" p50 {saturate['p50_ms']:.1f} p99 {saturate['p99_ms']:.1f} ms, {saturate['batch_rows_mean']} rows a batch",
        f"submit, not waiting  {submit['cpu_us'].get('api', 0):8.0f} us CPU in the API"
        f" = {submit['cpu_us'].get('api', 0) / max(empty, 1):.1f} x empty, {submit['per_second']:.0f} jobs/s",
        f"light, 20 a second   {light['p50_ms']:8.1f} ms p50 = {light['p50_ms'] / alone:.1f} x bare,"
        f" p99 {light['p99_ms']:.1f} ms",
        f"outcomes             {saturate['outcomes']} {submit['outcomes']} {light['outcomes']}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table and keeps the figures under ``results/``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each mode (default 8)")
    parser.add_argument("--no-store", action="store_true", help="keep no file under benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        results = measure(Path(name), options.seconds)
    print(table(results))
    if not options.no_store:
        print(f"kept in {figures.keep('bench', results)}")


if __name__ == "__main__":
    main()
