"""The commands that make up the service of one machine, and the environment they run in."""

import json
import re
import resource
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cli.data_folder import DataFolder
from cli.supervisor import Program
from shared.roles import Role
from shared.settings import PREFIX, Settings, child_environment

QUIET = {
    # What TensorFlow says at every start is no news to the reader of a log.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
}
IO_THREADS = 8
CONNECTIONS = 8192
"""Connections that the API keeps open, most of them idle: Granian takes no more while so many are open."""
SPARE_FILES = 1024
"""What the API opens besides."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of the service runs, and where it listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    inference_workers: int = 1
    training_workers: int = 1


def programs(settings: Settings, folder: DataFolder, shape: Shape, prefix: str = "") -> list[Program]:
    """Everything but the Redis server; the settings name the one to use.

    Args:
        settings: The settings of every process.
        folder: The data folder.
        shape: How much of what.
        prefix: What the names begin with by which other machines know the workers.
    """
    pool = settings.worker.pool
    solo = ("-P", "solo")
    one_child = ("-P", "prefork", "-c", "1", "--max-tasks-per-child")
    workers: list[tuple[Role, int, tuple[str, ...]]] = [
        *((Role.PREDICT, number + 1, solo) for number in range(shape.inference_workers)),
        *((Role.TRAIN, number + 1, (*one_child, "1")) for number in range(shape.training_workers)),
        # Model files are loaded in children of their own, so this one need not be replaced after each job.
        (Role.PREPARE, 1, (*one_child, "20")),
        (Role.IO, 1, ("-P", "threads", "-c", str(IO_THREADS), "-B")),
    ]
    named = [(f"{role.worker_kind}-{number}", role.queue(pool), options) for role, number, options in workers]
    found = [_worker(settings, folder, name, prefix + name, queue, options) for name, queue, options in named]
    return [*found, _api(settings, folder, shape)]


def host_prefix() -> str:
    """What worker names begin with where machines may share a Redis server."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return f"{host or 'host'}-"


def _api(settings: Settings, folder: DataFolder, shape: Shape) -> Program:
    threads = settings.http.threads
    command: tuple[str, ...] = (
        sys.executable, "-P", "-m", "granian", "--interface", "wsgi", "--factory", "api:create_app",
        "--host", shape.host, "--port", str(shape.port), "--workers", "1", "--no-ws",
        "--blocking-threads", str(threads), "--backpressure", str(CONNECTIONS),
        "--workers-kill-timeout", "4", "--log-level", "warning",
    )  # fmt: skip
    certificate, key = settings.http.tls_certificate, settings.http.tls_key
    if certificate is not None and key is not None:
        # Absolute, for the process runs in a folder of its own; Granian takes only TLS 1.3 unless told.
        command += (
            "--ssl-protocol-min", "tls1.2", "--ssl-certificate", str(certificate.expanduser().resolve()),
            "--ssl-keyfile", str(key.expanduser().resolve()),
        )  # fmt: skip
    extra = {}
    if not settings.http.public_url and not is_any_address(shape.host):
        extra["HEADRACE_HTTP__PUBLIC_URL"] = address(shape, is_secure=certificate is not None)
    return Program("api", command, _environment(settings, **extra), folder.run, before=allow_connections)


def allow_connections() -> None:
    """Lets this process, and what it starts, open a file for each connection, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _worker(
    settings: Settings, folder: DataFolder, name: str, known_as: str, queue: str, options: tuple[str, ...]
) -> Program:
    command = (
        sys.executable, "-P", "-m", "celery", "-A", "workers", "worker", "-Q", queue, "-n", f"{known_as}@%h",
        *options, "--without-mingle", "--without-gossip", "--without-heartbeat", "-l", settings.logs.level,
    )  # fmt: skip
    return Program(name, command, _environment(settings, HEADRACE_WORKER__NAME=known_as), folder.run)


def is_any_address(host: str) -> bool:
    """Whether a host stands for all addresses of the machine."""
    return host in ("0.0.0.0", "::", "")


def address(shape: Shape, *, is_secure: bool = False) -> str:
    """Where this machine reaches the API, over HTTP or HTTPS."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(shape.host, shape.host)
    scheme = "https" if is_secure else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{shape.port}"


def _environment(settings: Settings, **extra: str) -> dict[str, str]:
    """Every setting as the supervisor sees it, so that a child needs no ``.env`` file and cannot see another one."""
    variables = {name: value for name, value in _variables(settings) if value is not None}
    unset = {name for name, value in _variables(settings) if value is None}
    inherited = child_environment(settings, **{**QUIET, **variables, **extra})
    return {name: value for name, value in inherited.items() if name not in unset}


def _variables(settings: Settings) -> Iterator[tuple[str, str | None]]:
    for group, value in settings:
        if isinstance(value, BaseModel) and group != "client":
            for field, leaf in value:
                yield f"{PREFIX}{group}__{field}".upper(), _text(leaf)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple | list | Mapping):
        return json.dumps(value)
    return str(value)
