"""Bounds how often a key may ask, exactly, however many processes answer it.

A bucket for each key and class of requests holds tokens, refills evenly, and is one hash that one script changes. It
holds a few tokens more than a minute's worth, since a stock client repeats a request six times at once.
"""

from dataclasses import dataclass
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

BURST = 6
"""Tokens that a full bucket holds beyond those of a minute."""

# KEYS bucket; ARGV tokens a minute, most tokens
# -> whether it is allowed, whole tokens left, milliseconds until one is there, milliseconds until all are
_TAKE = """
local t = redis.call('TIME')
local now, rate, most = t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1] / 60000, tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = most
if bucket[1] then tokens = math.min(most, bucket[1] + math.max(0, now - bucket[2]) * rate) end
local allowed = tokens >= 1
if allowed then
  tokens = tokens - 1
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', now)
  redis.call('PEXPIRE', KEYS[1], math.ceil(most / rate))
end
return {allowed and 1 or 0, math.floor(tokens), math.max(0, math.ceil((1 - tokens) / rate)),
        math.ceil((most - tokens) / rate)}
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What became of one request."""

    is_allowed: bool
    remaining: int
    """How many more may follow at once."""
    next_seconds: float
    """When the next one may come."""
    full_seconds: float
    """When the whole allowance is back."""


class RateLimits:
    """The buckets of all keys.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._keys = open_keyspace(settings)
        self._script = redis.register_script(_TAKE)

    def take(self, kind: str, key_id: str, per_minute: int) -> Allowance:
        """Counts one request.

        Args:
            kind: The class of requests.
            key_id: The key that sent it.
            per_minute: How many the key may send in a minute.
        """
        with translated():
            answer: Any = self._script(
                keys=[self._keys.plain("rate", kind, key_id)], args=[per_minute, per_minute + BURST]
            )
        allowed, left, until_next, until_full = answer
        return Allowance(bool(allowed), int(left), until_next / 1000, until_full / 1000)
