"""Repairs what no living process finishes, once a period."""

from shared.errors import ServiceError
from shared.jobs.bells import SWEEP_TASK
from shared.jobs.sweeps import Sweeper
from workers.celery import app, current_process


@app.task(name=SWEEP_TASK)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Sweeps unless another process does."""
    process = current_process()
    also = (process.promotions.sweep, process.files.tidy)
    sweeper = Sweeper(process.redis, process.settings, process.artifacts, also=also)
    try:
        sweeper.run_once()
    except ServiceError:
        # Redis or the store is away: the next period tries again.
        return
