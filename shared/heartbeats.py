"""Which workers live: each says so every few seconds, and counts as gone after three silent periods."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

OWN_QUEUE_MS = 3_600_000
"""How long the Celery queue of one worker outlives it."""


def own_queue(worker: str) -> str:
    """The Celery queue of one worker alone."""
    return f"worker.{worker}"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What one worker last said of itself."""

    name: str
    kind: str
    pool: str
    host: str
    pid: int
    versions: tuple[str, ...]
    """Versions of models that it holds ready."""


class Heartbeats:
    """Writes and reads the workers' signs of life.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._life = max(1, int(3 * settings.worker.heartbeat_seconds * 1000))

    def beat(self, info: WorkerInfo) -> None:
        """Says that a worker lives."""
        facts: dict[Any, Any] = {"kind": info.kind, "pool": info.pool, "host": info.host, "pid": info.pid}
        key = self._keys.plain("worker", info.name)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping={**facts, "versions": json.dumps(info.versions)})
            pipe.pexpire(key, self._life)
            pipe.zadd(self._keys.plain("workers"), {info.name: time.time() + self._life / 1000})
            for own in self._own(info.name):
                pipe.pexpire(own, max(self._life, OWN_QUEUE_MS))
            pipe.execute()

    def leave(self, name: str) -> None:
        """Says that a worker has stopped."""
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._keys.plain("worker", name))
            pipe.zrem(self._keys.plain("workers"), name)
            pipe.delete(*self._own(name))
            pipe.execute()

    def _own(self, name: str) -> tuple[str, ...]:
        """What Celery keeps for the queue of one worker, which would outlive every worker whose name never returns."""
        queue = own_queue(name)
        celery = self._keys.plain("celery", "")
        return celery + queue, f"{celery}_kombu.binding.{queue}", f"{celery}_kombu.binding_permanent.{queue}"

    def living(self, kind: str | None = None, pool: str | None = None) -> Sequence[WorkerInfo]:
        """The workers that live, by name; of one kind and one pool where these are given."""
        index = self._keys.plain("workers")
        with translated():
            names = cast(list[bytes], self._redis.zrange(index, 0, -1))
            with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(self._keys.plain("worker", name.decode()))
                records: list[dict[bytes, bytes]] = pipe.execute() if names else []
            gone = [name for name, record in zip(names, records, strict=True) if not record]
            if gone:
                self._redis.zrem(index, *gone)
        infos = (_info(name.decode(), record) for name, record in zip(names, records, strict=True) if record)
        return sorted(
            (info for info in infos if kind in (None, info.kind) and pool in (None, info.pool)),
            key=lambda info: info.name,
        )


def _info(name: str, record: dict[bytes, bytes]) -> WorkerInfo:
    facts: dict[str, Any] = {field.decode(): value.decode() for field, value in record.items()}
    versions = tuple(json.loads(facts["versions"]))
    return WorkerInfo(name, facts["kind"], facts["pool"], facts["host"], int(facts["pid"]), versions)
