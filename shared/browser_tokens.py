"""Tokens that a page may hold: for a while, for one model, made by a key and no longer good than the key.

As with keys, Redis holds only the SHA-256 of a token, and a process trusts what it has looked up for a moment.
"""

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from shared.api_keys import ApiKey, ApiKeys
from shared.connections import Redis, open_keyspace, translated
from shared.settings import Settings

PREFIX = "hb_"
"""What tokens begin with, by which they are told from keys."""

_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_CACHED = 10_000


class BrowserTokens:
    """Makes and finds them.

    Args:
        redis: The server.
        settings: The process's settings.
        keys: The keys that make them.
    """

    def __init__(self, redis: Redis, settings: Settings, keys: ApiKeys) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)
        self._keys = keys
        self._cache_seconds = settings.auth.cache_seconds
        self._cache: dict[str, tuple[ApiKey, float]] = {}
        self._lock = threading.Lock()

    def create(self, key: ApiKey, model: str, seconds: int) -> tuple[str, ApiKey]:
        """Makes a token.

        Args:
            key: The key that makes it; the token ends with it.
            model: The model, ``owner/name``, whose predictions it may make.
            seconds: How long it lives.

        Returns:
            The token, which cannot be read again, and what it is good for.
        """
        text = PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        expires_at = min(now + seconds, key.expires_at or now + seconds)
        fields: dict[Any, str] = {
            "schema": "1",
            "prefix": text[:10],
            "key": key.digest,
            "model": model,
            "created_at": repr(now),
            "expires_at": repr(expires_at),
        }
        digest = _digest(text)
        name = self._names.plain("browser-token", digest)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(name, mapping=fields)
            pipe.pexpire(name, max(1, int((expires_at - now) * 1000)))
            pipe.execute()
        return text, _token(digest, fields, key)

    def find(self, text: str) -> ApiKey | None:
        """What a token is good for, as a key without any scope; ``None`` when it, or the key that made it, has ended.

        Raises:
            Unavailable: Redis does not answer.
        """
        if _FORM.fullmatch(text) is None:
            return None
        digest = _digest(text)
        token, until = self._cache.get(digest, (None, 0.0))
        if token is None or until < time.monotonic():
            token = self._read(digest)
            with self._lock:
                self._cache.pop(digest, None)
                if token is None:
                    return None
                if len(self._cache) >= _CACHED:
                    self._cache.clear()
                self._cache[digest] = token, time.monotonic() + self._cache_seconds
        return None if token.is_expired(time.time()) else token

    def forget(self) -> None:
        """Drops what this process remembers."""
        with self._lock:
            self._cache.clear()

    def _read(self, digest: str) -> ApiKey | None:
        with translated():
            record: Any = self._redis.hgetall(self._names.plain("browser-token", digest))
        fields = {name.decode(): value.decode() for name, value in record.items()}
        key = self._keys.of_digest(fields["key"]) if fields else None
        return _token(digest, fields, key) if key is not None else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _token(digest: str, record: Mapping[str, str], key: ApiKey) -> ApiKey:
    return ApiKey(
        id=digest[:16],
        prefix=record["prefix"],
        account=key.account,
        name=key.name,
        scopes=frozenset(),
        created_at=float(record["created_at"]),
        expires_at=float(record["expires_at"]),
        digest=digest,
        only_model=record["model"],
        made_by=key.id,
    )
