"""The figures of webhooks: attempts by outcome, what waits, and the hosts that get nothing for a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

_HOSTS = 2_000  # a reading looks at this many lanes; more than that would hold Redis
_FIELD = "webhook:"
_GIVEN_UP = ("outgoing:start:dead", "outgoing:completed:dead")


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading."""

    attempts: Mapping[tuple[str, str], int]
    """Attempts by event and outcome."""
    waiting: int
    """Errands in the lanes: webhooks that are due now or later, and downloads."""
    given_up: int
    """Webhooks that have become dead letters."""
    open_circuits: int


class WebhookFigures:
    """Counts and reads them; all processes count in Redis.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)

    def count(self, event: str, outcome: str) -> None:
        """Counts one attempt."""
        with translated():
            self._redis.hincrby(self._names.in_shard("totals"), f"{_FIELD}{event}:{outcome}", 1)

    def circuit_opened(self, host: str, seconds: float) -> None:
        """Notes that nothing goes to a host for so many seconds."""
        with translated():
            self._redis.zadd(self._names.plain("circuits"), {host: self._now() + int(seconds * 1000)})

    def circuit_closed(self, host: str) -> None:
        """Notes that a host answers again."""
        with translated():
            self._redis.zrem(self._names.plain("circuits"), host)

    def read(self) -> Figures:
        """All of them."""
        circuits = self._names.plain("circuits")
        now = self._now()
        with translated():
            self._redis.zremrangebyscore(circuits, "-inf", now)
            totals: Any = self._redis.hgetall(self._names.in_shard("totals"))
            hosts: Any = self._redis.zrange(self._names.in_shard("outgoing-hosts"), 0, _HOSTS - 1)
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(circuits)
                for host in hosts:
                    pipe.zcard(self._names.in_shard("outgoing", host.decode()))
                count, *lanes = pipe.execute()
        found = {field.decode(): int(float(value)) for field, value in totals.items()}
        attempts = {
            (event, outcome): number
            for field, number in found.items()
            if field.startswith(_FIELD)
            for event, _, outcome in [field.removeprefix(_FIELD).partition(":")]
        }
        return Figures(attempts, sum(lanes), sum(found.get(field, 0) for field in _GIVEN_UP), count)

    def _now(self) -> int:
        with translated():
            seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000
