"""Lets the workers load one version one after another, so that meanwhile the others serve what is busy."""

import contextlib
import threading
from collections.abc import Iterator

from redis.exceptions import LockError

from shared.connections import Redis, translated
from shared.errors import ServiceError
from shared.keyspace import Keyspace

HELD_SECONDS = 15.0
"""How long the turn of a worker that died lasts; one that lives renews it."""


class LoadTurns:
    """Whose turn it is to load a version.

    Args:
        redis: The server.
        keys: Its key names.
    """

    def __init__(self, redis: Redis, keys: Keyspace) -> None:
        self._redis = redis
        self._keys = keys

    def is_free(self, version: str) -> bool:
        """Whether no worker is loading a version in its turn."""
        with translated():
            return not self._redis.exists(self._key(version))

    @contextlib.contextmanager
    def taken(self, version: str) -> Iterator[bool]:
        """Keeps the turn while the block runs; tells the block whether it got it."""
        lock = self._redis.lock(self._key(version), timeout=HELD_SECONDS, thread_local=False)
        with translated():
            is_mine = bool(lock.acquire(blocking=False))
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(HELD_SECONDS / 3):
                with contextlib.suppress(LockError, ServiceError), translated():
                    lock.extend(HELD_SECONDS, replace_ttl=True)

        if is_mine:
            threading.Thread(target=renew, name="load-turn", daemon=True).start()
        try:
            yield is_mine
        finally:
            ended.set()
            if is_mine:
                with contextlib.suppress(LockError, ServiceError), translated():
                    lock.release()

    def _key(self, version: str) -> str:
        return self._keys.plain("loading", version)
