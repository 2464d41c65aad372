"""Test messages: the API asks for one, an io worker sends it, and the API hears what became of it."""

from dataclasses import dataclass
from typing import cast

from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

_LIFE_MS = 600_000


@dataclass(frozen=True, slots=True)
class Trial:
    """A test message that somebody waits for."""

    account: str
    url: str
    channel: str
    """Where the id is published once the attempt was made."""


class Trials:
    """Keeps them for ten minutes.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)

    def begin(self, trial_id: str, trial: Trial) -> None:
        """Notes what is to be sent; the errand follows."""
        name = self._names.plain("webhook-trial", trial_id)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(name, mapping={"account": trial.account, "url": trial.url, "channel": trial.channel})
            pipe.pexpire(name, _LIFE_MS)
            pipe.execute()

    def get(self, trial_id: str) -> Trial | None:
        """A test message, or ``None`` where nobody waits for it any more."""
        with translated():
            found = cast(dict[bytes, bytes], self._redis.hgetall(self._names.plain("webhook-trial", trial_id)))
        if not found:
            return None
        return Trial(found[b"account"].decode(), found[b"url"].decode(), found[b"channel"].decode())

    def end(self, trial_id: str, trial: Trial) -> None:
        """Wakes who waits; the delivery log has the attempt by then."""
        with translated():
            self._redis.delete(self._names.plain("webhook-trial", trial_id))
            self._redis.publish(trial.channel, trial_id)
