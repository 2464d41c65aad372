"""Drains a pool of imports and data sets, one job a message."""

from collections.abc import Mapping
from typing import Any

from shared.jobs.job import JobKind
from shared.roles import Role
from workers.celery import app, current_process
from workers.job_task import JobTask
from workers.run import Run


@app.task(name=Role.PREPARE.value, base=JobTask, bind=True)  # type: ignore[untyped-decorator]
def prepare(self: JobTask, pool: str, shard: str, token: str) -> None:
    """Runs the next import or data set job of a pool."""
    process = current_process()

    def import_engine(run: Run) -> Mapping[str, Any]:
        from workers.importing.importer import import_version

        return import_version(run, process.settings, process.artifacts, process.registry, process.promotions)

    def dataset_engine(run: Run) -> Mapping[str, Any]:
        from workers.datasets import prepare as prepare_dataset

        return prepare_dataset(run, process.settings, process.artifacts, process.datasets)

    self.drain(process, pool, token, {JobKind.IMPORT: import_engine, JobKind.DATASET: dataset_engine})
