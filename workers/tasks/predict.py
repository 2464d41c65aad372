"""Drains a pool of predictions in batches."""

from functools import cache
from typing import TYPE_CHECKING

from shared.jobs.bells import DRAIN_TASKS
from workers.celery import app, current_process
from workers.loaded import report_versions_of

if TYPE_CHECKING:
    from workers.inference.drain import Drain
    from workers.inference.model_cache import ModelCache


@app.task(name=DRAIN_TASKS["predict"])  # type: ignore[untyped-decorator]
def predict(pool: str, shard: str, token: str) -> None:
    """Runs waiting predictions of a pool for one time slice."""
    drain().run(pool, token)


@cache
def model_cache() -> "ModelCache":
    """The models of this process."""
    from workers.inference.model_cache import ModelCache

    process = current_process()
    models = ModelCache(process.settings, process.registry)
    report_versions_of(models.versions)
    return models


@cache
def drain() -> "Drain":
    """The one drain of this process."""
    from workers.inference.drain import Drain

    process = current_process()
    return Drain(
        process.queue,
        process.claims,
        model_cache(),
        process.registry,
        process.artifacts,
        process.settings,
        process.stopping,
    )
