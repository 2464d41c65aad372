"""Celery's consumer, which comes back to Redis within seconds, however long it was away."""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

INTERVALS = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3.0}
"""Seconds between the tries to connect. By default they grow to 30, and no setting changes them: a worker whose Redis
was away for a few minutes would leave what waits alone for half a minute more."""


class PromptConsumer(Consumer):  # type: ignore[misc]
    """The consumer of every worker."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connects, again and again until it succeeds or the worker shuts down."""
        conn.ensure_connection = partial(conn.ensure_connection, **INTERVALS)
        return super().ensure_connected(conn)
