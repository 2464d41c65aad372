"""Runs the child that meets a foreign model file, and believes as little as possible of what it leaves behind.

The child gets an empty environment, a folder of its own and nothing else. It is a process group of its own that is
killed when it takes too long, when its job is canceled, and when this process ends.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ImportRefused
from shared.settings import ImportsSettings
from workers.importing.child import REQUEST, RESULT, STAGES
from workers.run import Run

FAILED = "E1502"

_KNOWN_STAGES = frozenset({"scanning", "loading", "converting", "trying batch sizes"})
_PERIOD_SECONDS = 0.1
_MOST_RESULT_BYTES = 16 * 2**20
_LOG = "log"


class _Refusal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    message: str
    code: str


class Result(BaseModel):
    """What a child says; its form is checked, its content is a claim."""

    model_config = ConfigDict(extra="forbid", strict=True)
    measures: list[str]
    refused: _Refusal | None = None
    signature: dict[str, Any] | None = None
    parameters: dict[str, Any] = {}
    sample: Any = None
    warnings: list[str] = []


def run_child(run: Run, limits: ImportsSettings, folder: Path, request: Mapping[str, Any]) -> Result:
    """Runs one child to its end.

    Args:
        run: The job; asked all the while whether it goes on.
        limits: What the child may take.
        folder: Where the file lies that the request names; the child may write there.
        request: ``mode``, ``file`` and what to do.

    Raises:
        ImportRefused: The file is refused, or the child failed, died or took too long.
    """
    full = {
        **request,
        "parent": os.getpid(),
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": limits.cpu_seconds,
        "max_unpacked_bytes": limits.max_unpacked_bytes,
    }
    (folder / REQUEST).write_text(json.dumps(full))
    for name in (RESULT, STAGES, _LOG):
        (folder / name).unlink(missing_ok=True)
    status = _wait(run, limits, folder)
    if status != 0:
        raise ImportRefused(_death(status, limits, folder), FAILED)
    result = _read_result(folder)
    if result.refused is not None:
        raise ImportRefused(result.refused.message[:1000], FAILED if result.refused.code == FAILED else None)
    return result


def own_file(folder: Path, name: str, most_bytes: int) -> Path:
    """A file that a child has left; refuses links and what is larger than it may be."""
    path = folder / name
    try:
        facts = path.lstat()
    except FileNotFoundError as error:
        raise ImportRefused(f"the sandbox left no {name}", FAILED) from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_size > most_bytes:
        raise ImportRefused(f"the sandbox left a {name} that is not accepted", FAILED)
    return path


def _wait(run: Run, limits: ImportsSettings, folder: Path) -> int:
    command = [sys.executable, "-P", "-s", "-B", "-W", "ignore", "-m", "workers.importing.child"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    until, told = time.monotonic() + limits.timeout_seconds, 0
    with (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while True:
            run.check()
            told = _tell(run, folder, told)
            left = until - time.monotonic()
            if left <= 0:
                raise ImportRefused(f"loading and trying the file took more than {limits.timeout_seconds:g} s", FAILED)
            with suppress(subprocess.TimeoutExpired):
                return process.wait(min(left, _PERIOD_SECONDS))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tell(run: Run, folder: Path, told: int) -> int:
    try:
        descriptor = os.open(folder / STAGES, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return told
    with open(descriptor, errors="replace") as file:
        stages = [line for line in file.read(4096).splitlines() if line in _KNOWN_STAGES]
    for stage in stages[told:]:
        run.report(stage=stage)
    return max(told, len(stages))


def _read_result(folder: Path) -> Result:
    path = own_file(folder, RESULT, _MOST_RESULT_BYTES)
    try:
        return Result.model_validate_json(path.read_bytes())
    except (ValidationError, RecursionError) as error:
        raise ImportRefused("the sandbox left a result that cannot be read", FAILED) from error


def _death(status: int, limits: ImportsSettings, folder: Path) -> str:
    if status == -signal.SIGXCPU:
        return f"loading and trying the file took more than {limits.cpu_seconds} s of CPU time"
    if status < 0:
        name = signal.Signals(-status).name
        return f"the process that loaded the file was killed ({name}); it may need more memory than there is"
    last = _last_line(folder)
    return f"the process that loaded the file failed{': ' + last if last else ''}"


def _last_line(folder: Path) -> str:
    try:
        descriptor = os.open(folder / _LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
