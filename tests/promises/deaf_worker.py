"""The NumPy worker, whose first messages Redis does not let it acknowledge, as while it reads its data."""

import os
from typing import Any

from kombu.transport.redis import QoS
from redis.exceptions import BusyLoadingError

failures = [BusyLoadingError("planted")] * (os.cpu_count() or 1)  # as many messages as Celery holds at a time
_real = QoS.ack


def _ack(self: Any, delivery_tag: str) -> None:
    if failures:
        raise failures.pop()
    _real(self, delivery_tag)


QoS.ack = _ack

from numpy_worker import app  # noqa: E402

__all__ = ["app"]
