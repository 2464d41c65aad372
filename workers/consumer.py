"""Celery's consumer, mended in two places so that it never stays away from Redis for long."""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer

log = structlog.get_logger(__name__)

INTERVALS = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 3.0}
"""Seconds between the tries to connect. By default they grow to 30, and no setting changes them: a worker whose Redis
was away for a few minutes would leave what waits alone for half a minute more."""


class PromptConsumer(Consumer):  # type: ignore[misc]
    """The consumer of every worker."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connects, again and again until it succeeds or the worker shuts down."""
        conn.ensure_connection = partial(conn.ensure_connection, **INTERVALS)
        return super().ensure_connected(conn)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """What is called with each message."""
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> Any:
            message.ack_log_error = partial(_acknowledge, message)
            return handle(message)

        return on_task_received


def _acknowledge(message: Any, logger: Any, errors: tuple[type[Exception], ...], multiple: bool = False) -> None:
    """Acknowledges a message; where Redis does not take that, the consumer connects anew.

    Celery only logs it, and the message counts as being worked on for ever: after as many as the worker has slots no
    other would ever come. That happens where Redis answers again but is still reading its data.
    """
    try:
        message.ack(multiple=multiple)
    except errors as error:
        log.warning("a message could not be acknowledged; connecting anew", error=str(error))
        raise
