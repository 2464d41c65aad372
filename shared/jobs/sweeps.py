"""Repairs what no living process finishes: lapsed claims, passed deadlines, lost wake-ups, expired listings.

Several processes sweep (the API and the io workers), one at a time under a short lock, so that nothing waits for a
worker that lives.
"""

import threading
import uuid
from collections.abc import Callable
from typing import Any, cast

import structlog

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import ServiceError
from shared.jobs.bells import Bells
from shared.jobs.lua import Scripts
from shared.jobs.queue import LIMIT
from shared.outages import Outage
from shared.settings import Settings

log = structlog.get_logger(__name__)

RETRY_MS = 60_000
"""After how long a file is tried again that could not be deleted."""


class Sweeper:
    """One process's part in the sweeps.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where large inputs lie that are to be deleted.
        also: Further repairs, run in each sweep, for instance those of promotions.
    """

    def __init__(
        self, redis: Redis, settings: Settings, artifacts: ArtifactStore, also: tuple[Callable[[], object], ...] = ()
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._artifacts = artifacts
        self._also = also
        self._keys = open_keyspace(settings)
        self._scripts = Scripts(redis)
        self._bells = Bells(redis, settings)

    def run_forever(self, stop: threading.Event) -> None:
        """Sweeps once a period until told to stop; a failure is logged and the next period tries again."""
        outage = Outage(log, "sweeps fail")
        while not stop.wait(self._settings.queue.sweep_seconds):
            try:
                self.run_once()
                outage.over()
            except ServiceError as error:
                outage.failed(error)
            except Exception:
                log.exception("sweep failed")

    def run_once(self) -> bool:
        """Sweeps unless another process does or just did; returns whether it swept."""
        period = int(self._settings.queue.sweep_seconds * 1000)
        with translated():
            if not self._redis.set(self._keys.plain("sweeper"), uuid.uuid4().hex, nx=True, px=max(50, period * 3 // 4)):
                return False
        self.reclaim()
        self.expire()
        self.nudge()
        # Each by itself, and what waits for the artifact store last: one that fails must not stop the others.
        for repair in (*self._also, self._forget):
            try:
                repair()
            except ServiceError as error:
                log.warning("a repair failed", error=str(error))
            except Exception:
                log.exception("a repair failed")
        return True

    def reclaim(self) -> list[str]:
        """Moves the jobs of lapsed claims on; returns the claims."""
        lapsed: list[str] = []
        while True:
            token = uuid.uuid4().hex
            rings, _, _, claims = self._call("reclaim", LIMIT, self._settings.jobs.max_alone, token)
            for pool in rings:
                self._bells.ring(pool.decode(), self._keys.tag()[-2], token)
            lapsed += [claim.decode() for claim in claims]
            if not claims:
                break
        if lapsed:
            log.warning("claims lapsed", count=len(lapsed))
        return lapsed

    def expire(self) -> int:
        """Ends the jobs whose deadline has passed; returns how many."""
        count = 0
        while ended := len(self._call("expire", LIMIT)):
            count += ended
        return count

    def nudge(self) -> None:
        """Rings again for pools whose message was lost."""
        with translated():
            pools = cast(set[bytes], self._redis.smembers(self._keys.in_shard("pools")))
        for pool in sorted(name.decode() for name in pools):
            token = uuid.uuid4().hex
            period = int(self._settings.queue.sweep_seconds * 1000)
            if self._call("sweep", pool, int(self._bells.is_silent(pool)), period, token):
                self._bells.ring(pool, self._keys.tag()[-2], token)

    def _forget(self) -> None:
        while int(self._call("forget", LIMIT)) == LIMIT:
            continue
        spilled = self._keys.in_shard("spilled")
        with translated():
            seconds, microseconds = self._redis.time()
            now = int(seconds) * 1000 + int(microseconds) // 1000
            due = cast(list[bytes], self._redis.zrangebyscore(spilled, "-inf", now, 0, LIMIT))
        for path in due:
            try:
                self._artifacts.delete(path.decode())
            except Exception as error:
                log.warning("a file could not be deleted", path=path.decode(errors="replace"), error=str(error))
                with translated():
                    self._redis.zadd(spilled, {path: now + RETRY_MS}, xx=True)
            else:
                with translated():
                    self._redis.zrem(spilled, path)

    def _call(self, name: str, *args: object) -> Any:
        return self._scripts.call(name, self._keys.tag(), *args)
