"""What the engines of long jobs are tested with: a run that records what it is told, and the stores."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.datasets.store import DatasetStore
from shared.errors import JobCanceled, JobReleased
from shared.jobs.job import Job, JobKind, JobStatus, new_job_id
from shared.models.registry import ModelRegistry
from shared.settings import Settings


class RecordedRun:
    """A run outside of any queue; it takes the job away at the check that it is told."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lines: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self.checks = self.checkpoints = 0
        self.cancel_at = self.release_at = 0

    def log(self, line: str) -> None:
        self.lines.append(line)

    def report(self, **facts: Any) -> None:
        self.facts.append(facts)

    def checkpointed(self) -> None:
        self.checkpoints += 1

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.cancel_at:
            raise JobCanceled
        if self.checks == self.release_at:
            raise JobReleased


@pytest.fixture
def make_run() -> Callable[..., RecordedRun]:
    """Makes a run of a job of a kind with details and an input; of a given job another attempt."""

    def make(kind: str = "training", input: Any = None, job: Job | None = None, **details: Any) -> RecordedRun:
        job = job or Job(
            id=new_job_id(),
            kind=JobKind(kind),
            account="a",
            key_id="k",
            status=JobStatus.PROCESSING,
            attempt=1,
            queue=kind,
            pool="train.cpu",
            priority="normal",
            rows=1,
            bytes=1,
            deadline=time.time() + 86_400,
            deadline_by_caller=False,
            created_at=time.time(),
            details=details,
            input=input,
        )
        return RecordedRun(job)

    return make


@pytest.fixture
def datasets(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> DatasetStore:
    return DatasetStore(artifacts, redis, settings)


@pytest.fixture
def registry(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> ModelRegistry:
    return ModelRegistry(artifacts, redis, settings)
