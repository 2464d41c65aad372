"""Lets one process at a time change one model or one promotion."""

import contextlib
from collections.abc import Iterator

from redis.exceptions import LockError

from shared.connections import Redis, translated
from shared.errors import Unavailable

_HELD_SECONDS = 60.0
_WAIT_SECONDS = 10.0


@contextlib.contextmanager
def locked(redis: Redis, key: str, what: str) -> Iterator[None]:
    """Holds a lock while the block runs; it ends by itself should this process die.

    Args:
        redis: The server.
        key: The lock's key.
        what: What is being changed, for the sentence that a caller gets.

    Raises:
        Unavailable: Another process has held it for too long.
    """
    lock = redis.lock(key, timeout=_HELD_SECONDS, blocking_timeout=_WAIT_SECONDS)
    with translated():
        if not lock.acquire():
            raise Unavailable(f"Somebody else is changing {what}; try again in a moment.")
    try:
        yield
    finally:
        with contextlib.suppress(LockError), translated():
            lock.release()
