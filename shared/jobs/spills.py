"""Keeps inputs that are too large for Redis in the artifact store, and lets none of them stay behind."""

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

GRACE_SECONDS = 86_400
"""How long an input outlives the deadline of a job that never came of it."""


class Spills:
    """The large inputs of jobs.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where the inputs go.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore) -> None:
        self._redis = redis
        self._artifacts = artifacts
        self._keys = open_keyspace(settings)

    def write(self, job_id: str, data: bytes, life_seconds: float) -> str:
        """Writes an input and returns its path.

        Its name goes first to where the sweeps find it, in case that no job comes of it; the end of the job brings
        that time forward.
        """
        path = f"inputs/{job_id}"
        with translated():
            seconds, _ = self._redis.time()
            due = (int(seconds) + life_seconds + GRACE_SECONDS) * 1000
            self._redis.zadd(self._keys.in_shard("spilled"), {path: due})
        self._artifacts.write(path, data)
        return path

    def drop(self, job_id: str, path: str) -> None:
        """Removes the input of a job that was not made; where an earlier try has made it after all, it stays."""
        if not path:
            return
        with translated():
            exists = self._redis.exists(self._keys.of_job("job", job_id))
            if not exists:
                self._redis.zrem(self._keys.in_shard("spilled"), path)
        if not exists:
            self._artifacts.delete(path)
