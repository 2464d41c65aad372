"""Makes a version ready in this worker before an alias moves to it."""

import structlog

from shared.errors import JobError, NotFound
from shared.jobs.bells import LOAD_TASK
from workers.celery import app, current_process, settings
from workers.process import worker_name
from workers.tasks.predict import model_cache

log = structlog.get_logger(__name__)


@app.task(name=LOAD_TASK)  # type: ignore[untyped-decorator]
def load_version(version: str) -> None:
    """Loads a version and reports how that went."""
    process = current_process()
    name = worker_name(settings)
    try:
        with process.claims.watched(settings.inference.load_timeout_seconds):
            model_cache().get(version)
    except (JobError, NotFound) as error:
        log.error("the version cannot be loaded", version=version, error=str(error))
        process.promotions.failed(name, version, str(error))
    else:
        process.promotions.ready(name, version)
