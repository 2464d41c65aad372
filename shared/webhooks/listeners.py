"""The loopback addresses that may be called for now: receivers on a developer's machine, registered while they run.

An address is exact, host and port, and its registration ends by itself within a minute.
"""

import ipaddress
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.errors import InvalidInput
from shared.settings import Settings

LIFE_SECONDS = 60.0
"""How long a registration stands unless it is renewed."""

_MAX = 100


class Listeners:
    """Registers addresses and says which are registered.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._key = open_keyspace(settings).plain("listeners")

    def add(self, address: str) -> str:
        """Registers an address for a minute, or renews it; returns it as it is compared.

        Raises:
            InvalidInput: It is no loopback address with a port, or there are too many.
        """
        address = exact(address)
        now = self._now()
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(self._key, "-inf", now)
            pipe.zscore(self._key, address)
            pipe.zcard(self._key)
            _, known, count = pipe.execute()
            if known is None and count >= _MAX:
                raise InvalidInput(f"{_MAX} listeners are registered already; stop one of them.", "address", "range")
            self._redis.zadd(self._key, {address: now + LIFE_SECONDS * 1000})
        return address

    def remove(self, address: str) -> None:
        """Ends a registration."""
        with translated():
            self._redis.zrem(self._key, exact(address))

    def living(self) -> frozenset[str]:
        """The addresses that are registered now; asked for only where a loopback address is to be called."""
        with translated():
            found: Any = self._redis.zrangebyscore(self._key, self._now(), "+inf")
        return frozenset(member.decode() for member in found)

    def _now(self) -> int:
        with translated():
            seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def exact(address: str) -> str:
    """``127.0.0.1:8080`` or ``[::1]:8080``, as it is compared.

    Raises:
        InvalidInput: It is anything else.
    """
    host, colon, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        ip = None
    is_port = colon == ":" and port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535
    if ip is None or not ip.is_loopback or not is_port or (ip.version == 6) != host.startswith("["):
        raise InvalidInput("address must be a loopback address and port, for example 127.0.0.1:8080.", "address")
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"
