"""Tells how fast work leaves a queue or an account, for waits and ``Retry-After``.

The script *settle* measures rows against the time in which work waited, over all workers. So the figure has in it what
no worker knows of itself: how many there are, what else they serve, what Redis and the network take. Time in which
nothing ends while work waits counts as it passes.
"""

import math
from collections.abc import Mapping
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.jobs.new_job import NewJob
from shared.settings import Settings

UNKNOWN_SECONDS = 5
"""What a refusal asks for where nothing has been computed yet."""
MOST_SECONDS = 3600
"""The most that it says; the header ``Retry-After`` stops earlier, see ``api/errors.py``."""


class Paces:
    """Reads the speeds.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._keys = open_keyspace(settings)

    def of_queue(self, queue: str) -> float | None:
        """Rows per second that leave a queue while work waits in it; ``None`` where none ever did."""
        pace: float | None = self._figures(queue)["queue_pace"]
        return pace

    def wait(self, queue: str, ahead: int) -> float | None:
        """Seconds until so many waiting jobs of a queue are done; ``None`` where nothing tells."""
        figures = self._figures(queue)
        pace: float | None = figures["queue_pace"]
        if pace is None:
            return None
        rows_each: float = figures["queue_rows"] / figures["count"] if figures["count"] else 1.0
        return round(ahead * rows_each / pace, 3)

    def room(self, new: NewJob, which: str) -> tuple[int, int]:
        """When there will be room for a job that was refused.

        Args:
            new: The job.
            which: ``queue`` or ``account``: whose limit it would pass.

        Returns:
            Whole seconds until then, and the rows that count against the limit now.
        """
        figures, limits = self._figures(new.queue, new.account), self._settings.queue
        prefix = "account_" if which == "account" else ""
        rows, size, pace = (figures[f"{which}_{name}"] for name in ("rows", "bytes", "pace"))
        over = max(1, rows + new.rows - getattr(limits, prefix + "max_rows"))
        over_bytes = size + new.size - getattr(limits, prefix + "max_bytes")
        if over_bytes > 0 and size > 0:
            over = max(over, over_bytes / size * rows)  # bytes leave with the rows they belong to
        seconds = min(MOST_SECONDS, math.ceil(over / pace)) if pace else UNKNOWN_SECONDS
        return seconds, rows

    def _figures(self, queue: str, account: str = "") -> Mapping[str, Any]:
        name = self._keys.in_shard
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hmget(name("load", queue), "rows", "bytes")
            pipe.zcard(name("queue", queue))
            pipe.zrange(name("born", queue), 0, 0, withscores=True)
            pipe.hmget(name("pace", queue), "rows", "ms", "at")
            pipe.hmget(name("account", account), "rows", "bytes")
            pipe.hmget(name("pace", account + "|"), "rows", "ms", "at")
            time, load, count, oldest, pace, open_, account_pace = pipe.execute()
        now = time[0] * 1000 + time[1] // 1000
        waited_since = oldest[0][1] if oldest else now
        return {
            "queue_rows": int(load[0] or 0),
            "queue_bytes": int(load[1] or 0),
            "count": count,
            "queue_pace": _rate(pace, now, waited_since),
            "account_rows": int(open_[0] or 0),
            "account_bytes": int(open_[1] or 0),
            "account_pace": _rate(account_pace, now, 0),
        }


def _rate(pace: list[bytes | None], now: int, waited_since: float) -> float | None:
    """Rows per second; what has passed since the last ones, with work waiting, counts as well."""
    rows, ms, at = (float(figure or 0) for figure in pace)
    stalled = max(0.0, now - max(at, waited_since)) if at else 0.0
    return rows / (ms + stalled) * 1000 if rows > 0 and ms + stalled > 0 else None
