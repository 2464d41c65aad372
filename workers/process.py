"""What one worker process holds open, and how it learns that it shall stop.

Built once in the process that computes: under the solo and threads pools that is the worker itself, under prefork its
spawned child.
"""

import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from types import FrameType

import structlog

from shared.artifacts import ArtifactStore, open_artifacts
from shared.connections import Redis, open_redis, translated
from shared.datasets.store import DatasetStore
from shared.errors import ServiceError
from shared.files import Files
from shared.heartbeats import Heartbeats
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.outages import Outage
from shared.settings import Settings
from workers.claims import Claims

STOP_SIGNAL = signal.SIGUSR2
"""What a parent sends its pool's child at shutdown; Celery has taken the other signals for itself."""

log = structlog.get_logger(__name__)

WAIT_SECONDS = 1.0
"""How often a worker that waits for Redis looks again; Celery by itself would wait longer each time."""

stopping = threading.Event()
"""Set once the worker shuts down: finish the batch under way, keep a checkpoint, take nothing more."""


def worker_name(settings: Settings) -> str:
    """The worker's name: the setting, else host and process."""
    return settings.worker.name or f"{socket.gethostname().partition('.')[0]}-{os.getpid()}"


@dataclass(slots=True)
class Process:
    """The open connections and stores of one process."""

    settings: Settings
    redis: Redis
    artifacts: ArtifactStore
    queue: JobQueue
    jobs: JobStore
    registry: ModelRegistry
    datasets: DatasetStore
    promotions: Promotions
    files: Files
    outputs: LargeOutputs
    heartbeats: Heartbeats
    claims: Claims
    stopping: threading.Event = field(default_factory=lambda: stopping)


def open_process(settings: Settings) -> Process:
    """Opens everything; connections are made at their first use."""
    redis, artifacts = open_redis(settings), open_artifacts(settings)
    queue = JobQueue(redis, settings, artifacts)
    registry = ModelRegistry(artifacts, redis, settings)
    return Process(
        settings=settings,
        redis=redis,
        artifacts=artifacts,
        queue=queue,
        jobs=JobStore(redis, settings, artifacts),
        registry=registry,
        datasets=DatasetStore(artifacts, redis, settings),
        promotions=Promotions(registry, redis, settings, queue.bells),
        files=Files(redis, settings, artifacts),
        outputs=LargeOutputs(redis, settings, artifacts),
        heartbeats=Heartbeats(redis, settings),
        claims=Claims(queue, settings),
    )


def stop_on_signal() -> None:
    """Makes the stop signal of a parent set ``stopping`` in this child."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(STOP_SIGNAL, on_signal)


def wait_for_redis(settings: Settings) -> None:
    """Waits until Redis serves, and says so; ends the process with status 0 where it is told to stop meanwhile."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    redis, outage = open_redis(settings), Outage(log, "waiting for Redis")
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            try:
                with translated():
                    redis.ping()
                break
            except ServiceError as error:
                outage.failed(error)
                time.sleep(WAIT_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        redis.close()
    outage.over()
