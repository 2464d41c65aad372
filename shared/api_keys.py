"""API keys: who a request speaks for and what it may do.

A key is shown once, when it is made. Redis holds only its SHA-256, which is also the name of its record, so that
neither a copy of the database nor a listing lets anybody in.
"""

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.connections import Redis, open_keyspace, translated
from shared.errors import InvalidInput, NotFound
from shared.models.version import NAME_PATTERN, is_name
from shared.settings import Settings

SCOPES: Mapping[str, str] = {
    "read": "look at models, data sets and the account's own jobs",
    "predictions:write": "create, cancel and delete predictions, and the files that they name",
    "trainings:write": "create, cancel and delete trainings",
    "models:write": "push, promote and delete models, which may run code on the workers",
    "datasets:write": "push and delete data sets",
    "webhooks:read": "read the secret that signs the account's webhooks",
    "webhooks:write": "rotate that secret, send test messages, and send webhooks again",
    "metrics:read": "read /metrics",
    "admin": "everything",
}
"""Every scope and what it allows."""

_FORM = re.compile(r"hr_[A-Za-z0-9_-]{43}")
_CACHED_KEYS = 10_000
_USE_PERIOD_SECONDS = 60.0
# Writes the last use only while the key exists, so that a revoked one does not come back as half a record.
_TOUCH = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'last_used_at', ARGV[1]) end"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of one key; times are seconds since the epoch."""

    id: str
    """First 16 hexadecimal digits of the key's digest; kept in the records of the jobs that the key made."""
    prefix: str
    """First characters of the key itself, by which its owner recognises it."""
    account: str
    name: str
    scopes: frozenset[str]
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    digest: str = ""
    """SHA-256 of the key, the name of its record."""
    only_model: str = ""
    """Not empty for a token of a page, which has no scope: the model whose predictions it may make."""
    made_by: str = ""
    """Of such a token: the id of the key that made it, against which its requests count."""

    def allows(self, scope: str) -> bool:
        """Whether the key may do what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes

    def is_expired(self, now: float) -> bool:
        """Whether the key's time is over."""
        return self.expires_at is not None and self.expires_at <= now


class ApiKeys:
    """Makes, finds and revokes keys.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._names = open_keyspace(settings)
        self._cache_seconds = settings.auth.cache_seconds
        self._cache: dict[str, tuple[ApiKey, float]] = {}
        self._lock = threading.Lock()

    def create(
        self, account: str, name: str, scopes: Collection[str], expires_at: float | None = None
    ) -> tuple[str, ApiKey]:
        """Makes a key.

        Args:
            account: Whom it speaks for; the account exists by having a key.
            name: What the key is for, in its owner's words.
            scopes: What it may do.
            expires_at: When it stops working, in seconds since the epoch.

        Returns:
            The key, which cannot be read again, and what is kept of it.

        Raises:
            InvalidInput: The account's name or a scope is not possible.
        """
        if not is_name(account):
            raise InvalidInput(f"The account {account!r} must match {NAME_PATTERN}.", "account")
        unknown = sorted(set(scopes) - SCOPES.keys())
        if unknown or not scopes:
            raise InvalidInput(f"Unknown scopes {', '.join(unknown) or '(none)'}: choose from {', '.join(SCOPES)}.")
        if expires_at is not None and expires_at <= time.time():
            raise InvalidInput("The key would have expired already; give a time to come.", "expires_at")
        text = "hr_" + secrets.token_urlsafe(32)
        digest = _digest(text)
        fields: dict[Any, str] = {
            "schema": "1",
            "prefix": text[:10],
            "account": account,
            "name": name,
            "scopes": ",".join(sorted(scopes)),
            "created_at": repr(time.time()),
            "expires_at": "" if expires_at is None else repr(float(expires_at)),
        }
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._names.plain("key", digest), mapping=fields)
            pipe.sadd(self._names.plain("keys"), digest)
            pipe.execute()
        return text, _key(digest, fields)

    def find(self, text: str) -> ApiKey | None:
        """The key that was sent, or ``None`` when it is unknown, expired or revoked.

        A key found before is believed for ``auth.cache_seconds``.

        Raises:
            Unavailable: Redis does not answer.
        """
        if _FORM.fullmatch(text) is None:
            return None
        digest = _digest(text)
        cached = self._cache.get(digest)
        if cached is None or cached[1] < time.monotonic():
            key = self._read(digest)
            if key is None:
                self._cache.pop(digest, None)
                return None
            self._remember(digest, key)
        else:
            key = cached[0]
        return None if key.expires_at is not None and key.is_expired(time.time()) else key

    def of_digest(self, digest: str) -> ApiKey | None:
        """The key with this digest, ``None`` when it is expired or revoked; never from memory.

        Raises:
            Unavailable: Redis does not answer.
        """
        key = self._read(digest)
        return None if key is None or key.is_expired(time.time()) else key

    def list(self) -> Sequence[ApiKey]:
        """Every key, the oldest first."""
        with translated():
            digests = self._digests()
            with self._redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hgetall(self._names.plain("key", digest))
                records: Sequence[Mapping[bytes, bytes]] = pipe.execute() if digests else []
        keys = [_key(digest, _text(record)) for digest, record in zip(digests, records, strict=True) if record]
        return sorted(keys, key=lambda key: key.created_at)

    def revoke(self, name: str) -> ApiKey:
        """Ends a key; every process refuses it within ``auth.cache_seconds``.

        Args:
            name: The id or the prefix of the key.

        Raises:
            NotFound: No key, or more than one, is called so.
        """
        matches = [key for key in self.list() if key.id == name or key.prefix == name]
        if len(matches) != 1:
            count = f"{len(matches)} keys are" if matches else "No key is"
            raise NotFound(f"{count} called {name!r}; name one by the id that the list of keys shows.")
        with translated():
            digest = next((digest for digest in self._digests() if digest.startswith(matches[0].id)), None)
            if digest is not None:
                with self._redis.pipeline(transaction=True) as pipe:
                    pipe.delete(self._names.plain("key", digest))
                    pipe.srem(self._names.plain("keys"), digest)
                    pipe.publish(self._names.plain("changed"), f"key:{matches[0].id}")
                    pipe.execute()
        self.forget()
        return matches[0]

    def forget(self) -> None:
        """Drops what this process remembers, so that every key is looked up again."""
        with self._lock:
            self._cache.clear()

    def _digests(self) -> Sequence[str]:
        members: Any = self._redis.smembers(self._names.plain("keys"))
        return sorted(member.decode() for member in members)

    def _read(self, digest: str) -> ApiKey | None:
        name = self._names.plain("key", digest)
        with translated():
            record: Any = self._redis.hgetall(name)
            if not record:
                return None
            key = _key(digest, _text(record))
            now = time.time()
            if not key.is_expired(now) and now - (key.last_used_at or 0) >= _USE_PERIOD_SECONDS:
                self._redis.eval(_TOUCH, 1, name, repr(now))
        return key

    def _remember(self, digest: str, key: ApiKey) -> None:
        with self._lock:
            if len(self._cache) >= _CACHED_KEYS:
                self._cache.clear()
            self._cache[digest] = (key, time.monotonic() + self._cache_seconds)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(record: Mapping[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in record.items()}


def _key(digest: str, record: Mapping[str, str]) -> ApiKey:
    return ApiKey(
        id=digest[:16],
        prefix=record["prefix"],
        account=record["account"],
        name=record["name"],
        scopes=frozenset(record["scopes"].split(",")),
        created_at=float(record["created_at"]),
        expires_at=float(record["expires_at"]) if record.get("expires_at") else None,
        last_used_at=float(record["last_used_at"]) if record.get("last_used_at") else None,
        digest=digest,
    )
