"""Shuts this process in before it meets a foreign file: limits, no network, no other process, few files."""

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Literal

from workers.importing.landlock import deny_files
from workers.importing.seccomp import deny_system_calls

Measure = Literal["limits", "system calls", "files"]

_PR_SET_PDEATHSIG = 1
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random")
_FACTS = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/sys/vm",
    "/proc/sys/kernel",
    "/sys/devices/system",
)


def confine(folder: Path, parent: int, memory_bytes: int, cpu_seconds: int, file_bytes: int) -> list[Measure]:
    """Shuts this process in, as far as the platform can.

    Args:
        folder: The one folder that stays writable.
        parent: The process that started this one; when it ends, so does this.
        memory_bytes: Most address space.
        cpu_seconds: Most CPU time.
        file_bytes: Size of the largest file.

    Returns:
        What took hold.
    """
    _end_with(parent)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 1024)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 5)  # first SIGXCPU, which says why, then SIGKILL
    if sys.platform == "linux":  # elsewhere the limit is not kept, or counts what is merely mapped
        _limit(resource.RLIMIT_AS, memory_bytes)
    measures: list[Measure] = ["limits"]
    source = Path(__file__).parents[2]
    python = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    readable = [*_SYSTEM, *_FACTS, *python, str(source / "workers"), str(source / "shared")]
    if deny_files(readable, [str(folder), "/dev/null"]):
        measures.append("files")
    if deny_system_calls():
        measures.append("system calls")
    return measures


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    _, known = resource.getrlimit(what)
    most = soft if hard is None else hard
    if known != resource.RLIM_INFINITY:
        soft, most = min(soft, known), min(most, known)
    resource.setrlimit(what, (soft, most))
