"""The secret that signs an account's webhooks, and its rotation.

Secrets lie in Redis as they are, since they sign. A rotated one goes on signing beside its follower for a while, so
that receivers can change over without losing a message.
"""

from dataclasses import dataclass
from typing import Any, cast

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings
from shared.webhooks.signing import new_secret

MAX_OLD = 3
"""Most rotated secrets that still sign; beyond it the oldest ends at once."""

# The hash is secret -> when it stops to sign, in milliseconds; 0 for the one in use, made at the first reading.
_READ = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all, used, old = redis.call('HGETALL', KEYS[1]), nil, {}
for i = 1, #all, 2 do
  local till = tonumber(all[i + 1])
  if till == 0 then used = all[i]
  elseif till > now then old[#old + 1] = {all[i], till}
  else redis.call('HDEL', KEYS[1], all[i]) end
end
if ARGV[2] ~= '' and used then
  local till = now + ARGV[2]
  if till > now then
    redis.call('HSET', KEYS[1], used, till)
    old[#old + 1] = {used, till}
  else redis.call('HDEL', KEYS[1], used) end
  used = nil
end
if not used then
  used = ARGV[1]
  redis.call('HSET', KEYS[1], used, 0)
end
table.sort(old, function(a, b) return a[2] > b[2] end)
while #old > tonumber(ARGV[3]) do redis.call('HDEL', KEYS[1], table.remove(old)[1]) end
local out = {used}
for _, pair in ipairs(old) do out[#out + 1] = pair[1]; out[#out + 1] = pair[2] end
return out
"""


@dataclass(frozen=True, slots=True)
class OldSecret:
    """A rotated secret that still signs."""

    key: str
    expires_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What signs an account's webhooks now."""

    key: str
    """The secret in use."""
    old: tuple[OldSecret, ...]
    """Those that sign beside it, the newest first."""

    @property
    def keys(self) -> list[str]:
        """All of them, the one in use first."""
        return [self.key, *(old.key for old in self.old)]


class WebhookSecrets:
    """Reads and rotates the secrets of accounts.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)
        self._overlap = settings.webhooks.rotation_seconds

    def get(self, account: str) -> Secrets:
        """An account's secrets; the first reading makes one."""
        return self._run(account, "")

    def rotate(self, account: str, overlap_seconds: float | None = None) -> Secrets:
        """Makes a new secret.

        Args:
            account: Whose.
            overlap_seconds: How long the one so far still signs beside it; 0 ends it at once, for one that has leaked.
                The setting's time unless given.
        """
        seconds = self._overlap if overlap_seconds is None else overlap_seconds
        return self._run(account, str(int(seconds * 1000)))

    def _run(self, account: str, overlap: str) -> Secrets:
        name = self._names.plain("webhook-secrets", account)
        with translated():
            key, *old = cast(list[Any], self._redis.eval(_READ, 1, name, new_secret(), overlap, MAX_OLD))
        pairs = zip(old[::2], old[1::2], strict=True)
        return Secrets(key.decode(), tuple(OldSecret(text.decode(), int(till) / 1000) for text, till in pairs))
