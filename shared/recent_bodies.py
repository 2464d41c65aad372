"""Remembers for a while which job a body made, for clients that repeat themselves but send no key.

The id is kept before the job is submitted, and a repetition is submitted under that same id. Since a submission is
idempotent by id, it makes no difference whether the first attempt came through.
"""

from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

WINDOW_SECONDS = 120
"""How long after its first attempt a repetition is recognised."""


class RecentBodies:
    """Job ids by account and digest of the body.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)

    def begin(self, account: str, digest: str, job_id: str) -> str:
        """Keeps the id of a first attempt, in place of an earlier one with an equal body."""
        with translated():
            self._redis.set(self._name(account, digest), job_id, ex=WINDOW_SECONDS)
        return job_id

    def again(self, account: str, digest: str, job_id: str, seconds: float = WINDOW_SECONDS) -> str:
        """The id of the attempt that is repeated; the id given here where none is known, and so long from now on."""
        life = max(1, int(seconds * 1000))
        with translated():
            known: Any = self._redis.set(self._name(account, digest), job_id, px=life, nx=True, get=True)
        return known.decode() if known else job_id

    def _name(self, account: str, digest: str) -> str:
        return self._names.in_shard("recent", account, digest)
