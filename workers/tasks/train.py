"""Drains a pool of trainings, one job a message."""

from collections.abc import Mapping
from typing import Any

from shared.jobs.job import JobKind
from shared.roles import Role
from workers.celery import app, current_process
from workers.job_task import JobTask
from workers.run import Run


@app.task(name=Role.TRAIN.value, base=JobTask, bind=True)  # type: ignore[untyped-decorator]
def train(self: JobTask, pool: str, shard: str, token: str) -> None:
    """Runs the next training of a pool."""
    process = current_process()

    def engine(run: Run) -> Mapping[str, Any]:
        from workers.training.trainer import train as train_model

        return train_model(run, process.settings, process.artifacts, process.registry, process.datasets)

    self.drain(process, pool, token, {JobKind.TRAINING: engine})
