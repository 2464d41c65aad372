"""What a submit costs beside an earlier commit: ``make compare BASE=COMMIT``.

Both services stand at once, each with its own Redis, worker and model, and are asked by turns for a few seconds, many
times. What slows the machine down slows both, so the median of the ratios of neighbouring turns says what a change
costs to a few per cent, where two whole runs differ by twenty. The commit runs in this environment: it must know the
installed libraries.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.__main__ import MODEL, empty_flask, load, service
from benchmarks.figures import ROOT, keep

REST_SECONDS = 2.0
"""Between two turns, so that a worker has answered what was left in its queue."""


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of a commit."""
    path = folder / "base"
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--detach", "--quiet", str(path), commit], check=True)
    try:
        yield path
    finally:
        subprocess.run([*git, "remove", "--force", str(path)], check=True)


def measure(folder: Path, commit: str, turns: int, seconds: float, mode: str) -> dict[str, Any]:
    """The figures of all turns."""
    subprocess.run([sys.executable, "-m", "benchmarks.work", str(folder)], check=True, stderr=subprocess.DEVNULL)
    api: dict[str, list[float]] = {"base": [], "now": []}
    redis: dict[str, list[float]] = {"base": [], "now": []}
    with ExitStack() as stack:
        process, port = stack.enter_context(empty_flask(folder))
        empty = load("empty", folder, process, port=port, seconds=seconds, clients=16)["cpu_us_all"]
        running = {}
        for name, code in (("base", stack.enter_context(checkout(commit, folder))), ("now", ROOT)):
            place = folder / f"{name}-data"
            place.mkdir()
            (place / "model.keras").symlink_to(folder / "model.keras")
            running[name] = stack.enter_context(service(place, code))
        for turn in range(-1, turns):
            # The order changes, so that neither always comes after the other's rest.
            for name in ("base", "now") if turn % 2 else ("now", "base"):
                process, port, key = running[name]
                path = f"/v1/models/{MODEL}/predictions"
                figures = load(mode, folder, process, port=port, key=key, path=path, seconds=seconds, clients=16)
                if set(figures["outcomes"]) != {"right"}:
                    print(f"{name}: {figures['outcomes']}", file=sys.stderr)
                if turn >= 0:  # the first warms both
                    api[name].append(figures["cpu_us"].get("api", 0))
                    redis[name].append(figures["cpu_us"].get("redis", 0))
                time.sleep(REST_SECONDS)
    ratios = sorted(now / base for base, now in zip(api["base"], api["now"], strict=True))
    return {
        "mode": mode,
        "base": commit,
        "turns": turns,
        "empty_us": empty,
        "api_us": {name: round(statistics.median(values), 1) for name, values in api.items()},
        "redis_us": {name: round(statistics.median(values), 1) for name, values in redis.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    """Reads the command line and prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("commit", help="what to compare this checkout with")
    parser.add_argument("--turns", type=int, default=12, help="how often each is asked (default 12)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (default 3)")
    parser.add_argument("--mode", choices=("submit", "saturate"), default="submit", help="nobody waits, or all do")
    parser.add_argument("--no-store", action="store_true", help="keep no file under benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-compare-") as name:
        figures = measure(Path(name), options.commit, options.turns, options.seconds, options.mode)
    print(json.dumps(figures, indent=1))
    if not options.no_store:
        print(f"kept in {keep('compare', figures)}", file=sys.stderr)


if __name__ == "__main__":
    main()
