"""Counts the loads of versions that failed or crashed, so that a version that kills its workers is left alone.

A load is written down before it begins. One that ends badly is counted; one whose process is gone was a crash and is
counted when somebody next looks, so that loads under way in healthy workers never speak against a version. Moments are
by Redis' clock, since they are compared on other machines than they were written on.
"""

import os
import socket
from collections.abc import Mapping
from typing import Literal, cast

from shared.connections import Redis, translated
from shared.keyspace import Keyspace
from shared.settings import Settings

LoadEvent = Literal["begun", "failed", "good"]

# Ends one begun load as failed, unless somebody else has counted it already.
_FAIL = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'failed', 1)
  redis.call('HSET', KEYS[1], 'error', ARGV[2])
end
return 1
"""


class LoadRecords:
    """What happened when workers loaded versions.

    Args:
        redis: The server.
        keys: Its key names.
        settings: The process's settings.
        host: This machine's name.
        pid: This process.
    """

    def __init__(
        self, redis: Redis, keys: Keyspace, settings: Settings, host: str | None = None, pid: int | None = None
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._limit = settings.inference.max_load_failures
        self._timeout = settings.inference.load_timeout_seconds
        self._host = host or socket.gethostname()
        self._pid = pid
        self._fail = redis.register_script(_FAIL)

    def record(self, version: str, event: LoadEvent, error: str = "") -> None:
        """Writes down that this process began a load, or how it ended.

        A good load clears the record: the version is fine and what failed was something else.
        """
        key, field = self._key(version), self._field()
        with translated():
            if event == "good":
                self._redis.delete(key)
            elif event == "failed":
                self._redis.hset(key, field, f"{self._now():.3f}")
                self._fail(keys=[key], args=[field, error])
            else:
                # The same process cannot begin twice: a restarted container has its old number again.
                self._count_crashes(version, {field.encode(): b"0"})
                self._redis.hset(key, field, f"{self._now():.3f}")

    def unloadable(self, version: str) -> str | None:
        """Why the version is not to be loaded any more, ``None`` while it may be."""
        with translated():
            record = self._read(version)
            if not record:
                return None
            if self._count_crashes(version, record):
                record = self._read(version)
        failures = int(record.get(b"failed", b"0"))
        if failures < self._limit:
            return None
        error = record.get(b"error", b"").decode(errors="replace")
        return f"The version failed to load {failures} times and is not tried again until it is reset: {error}"

    def reset(self, version: str) -> None:
        """Lets the version be tried again."""
        with translated():
            self._redis.delete(self._key(version))

    def _count_crashes(self, version: str, record: Mapping[bytes, bytes]) -> bool:
        begun = {field: float(moment) for field, moment in record.items() if field.startswith(b"begun:")}
        now = self._now() if begun else 0.0
        crashed = [field for field, moment in begun.items() if self._is_over(field, now - moment)]
        for field in crashed:
            self._fail(keys=[self._key(version)], args=[field, "the worker process died while it loaded the version"])
        return bool(crashed)

    def _is_over(self, field: bytes, age_seconds: float) -> bool:
        _, host, pid = field.decode().rsplit(":", 2)
        if age_seconds > self._timeout:
            return True
        return host == self._host and not _is_alive(int(pid))

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def _read(self, version: str) -> Mapping[bytes, bytes]:
        return cast(Mapping[bytes, bytes], self._redis.hgetall(self._key(version)))

    def _field(self) -> str:
        return f"begun:{self._host}:{self._pid or os.getpid()}"

    def _key(self, version: str) -> str:
        return self._keys.plain("loads", version)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
