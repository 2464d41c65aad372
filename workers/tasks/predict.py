"""Drains a pool of predictions in batches."""

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import signals

from shared.roles import Role
from workers.celery import app, current_process, role_of
from workers.loaded import report_versions_of

if TYPE_CHECKING:
    from workers.inference.drain import Drain
    from workers.inference.model_cache import ModelCache


@app.task(name=Role.PREDICT.value)  # type: ignore[untyped-decorator]
def predict(pool: str, shard: str, token: str) -> None:
    """Runs waiting predictions of a pool for one time slice."""
    drain().run(pool, token)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _prepare(sender: Any, **_: object) -> None:
    """Imports TensorFlow while nothing waits for it."""
    if role_of(sender.app) is Role.PREDICT:
        models = model_cache()  # made here, in the main thread: it must be the one that the first message finds
        threading.Thread(target=models.prepare, name="prepare", daemon=True).start()


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
    from workers.inference.payloads import Payloads

    process = current_process()
    return Drain(
        process.queue,
        process.claims,
        model_cache(),
        process.registry,
        Payloads(process.artifacts, process.outputs, process.settings),
        process.settings,
        process.stopping,
    )
