"""Adds up, again and again, what one account has open: the records themselves, not what the product counts."""

import threading
from collections.abc import Callable
from typing import Any

import redis

from benchmarks.chaos.history import History

SECONDS = 0.1
_SUMS = """
local rows, bytes = {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local j = redis.call('HMGET', KEYS[2]..id, 'account', 'rows', 'bytes')
  if j[1] then
    rows[j[1]] = (rows[j[1]] or 0) + tonumber(j[2])
    bytes[j[1]] = (bytes[j[1]] or 0) + tonumber(j[3])
  end
end
local out = {}
for account, count in pairs(rows) do out[#out + 1] = {account, count, bytes[account]} end
return out
"""


class Sums:
    """Watches one run.

    Args:
        client: Makes a connection to the server itself, past every link.
        history: Where each new highest sum is written.
    """

    def __init__(self, client: Callable[[], Any], history: History) -> None:
        self._client, self._history = client, history
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sums", daemon=True)
        self._highest: dict[tuple[str, str], int] = {}

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """Ends; the highest sums."""
        self._stop.set()
        self._thread.join(30)
        return {f"{account} {what}": sum_ for (account, what), sum_ in sorted(self._highest.items())}

    def _run(self) -> None:
        client = self._client()
        while not self._stop.wait(SECONDS):
            try:
                found = client.eval(_SUMS, 2, "headrace:{a}:open", "headrace:{a}:job:")
            except (redis.RedisError, OSError):  # away, or full: it is broken on purpose
                continue
            for account, rows, size in found:
                for what, sum_ in (("rows", rows), ("bytes", size)):
                    key = (account.decode(), what)
                    if sum_ > self._highest.get(key, 0):
                        self._highest[key] = sum_
                        self._history.add("sum", account=key[0], of=what, sum=sum_)
