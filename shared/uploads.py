"""Files on their way from a request to the job that reads them.

The worker deletes an upload when it has read it. The store's own list of things to delete knows it from before its
first byte, so that nothing stays for ever when a process dies or a job never runs.
"""

import time
from typing import BinaryIO

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

_SPARE_SECONDS = 86_400.0


class Uploads:
    """Puts uploads into the artifact store and takes them out again.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where uploads lie.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore) -> None:
        self._redis = redis
        self._artifacts = artifacts
        self._spilled = open_keyspace(settings).in_shard("spilled")
        self._life_seconds = settings.jobs.other_deadline_seconds + _SPARE_SECONDS

    def keep(self, content: BinaryIO, job_id: str) -> str:
        """Copies an open file into the store for a job; returns the path there, with no name of the client in it."""
        path = f"uploads/{job_id}"
        with translated():
            self._redis.zadd(self._spilled, {path: int((time.time() + self._life_seconds) * 1000)})
        self._artifacts.put_open(content, path)
        return path

    def drop(self, path: str) -> None:
        """Deletes an upload whose job will not read it."""
        self._artifacts.delete(path)
        with translated():
            self._redis.zrem(self._spilled, path)
