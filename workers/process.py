"""What one worker process holds open, and how it learns that it shall stop.

Built once in the process that computes: under the solo and threads pools that is the worker itself, under prefork its
spawned child.
"""

import os
import signal
import socket
import threading
from dataclasses import dataclass, field
from types import FrameType

from shared.artifacts import ArtifactStore, open_artifacts
from shared.connections import Redis, open_redis
from shared.datasets.store import DatasetStore
from shared.files import Files
from shared.heartbeats import Heartbeats
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from workers.claims import Claims

STOP_SIGNAL = signal.SIGUSR2
"""What a parent sends its pool's child at shutdown; Celery has taken the other signals for itself."""

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
