"""Keeps what a run measured under ``results/``, with the commit and the machine that it was measured on."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def about_the_run() -> dict[str, Any]:
    """When, at which commit and on what; of the load average the last minute counts."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": round(psutil.getloadavg()[0], 1),
    }


def keep(program: str, figures: dict[str, Any]) -> Path:
    """Writes the figures of a run and returns where.

    Args:
        program: Which one measured; the beginning of the file's name.
        figures: JSON values.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{program}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(figures | about_the_run(), indent=1) + "\n")
    return path
