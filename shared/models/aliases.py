"""Aliases: movable names for versions, every move of which is kept.

A move is a file of the store, ``aliases/{sequence}-{alias}.json``, written once. The sequence is counted by Redis, so
that no clock decides which move is the newest; Redis also holds the newest move of each alias for quick reading, and
that index is made again from the files where it is missing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from shared.artifacts import ArtifactStore
from shared.connections import Redis, translated
from shared.keyspace import Keyspace
from shared.models.version import iso

SCHEMA = 1
"""Number of the record's form; raised when a field changes its meaning."""

# The index never goes back, also when two moves are entered in the wrong order.
_ENTER = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or known < ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
"""

# A counter that Redis lost in a crash starts behind the moves that the store already knows.
_COUNT = """
local floor = tonumber(ARGV[1])
local next = redis.call('INCR', KEYS[1])
if next <= floor then
  next = floor + 1
  redis.call('SET', KEYS[1], next)
end
return next
"""


@dataclass(frozen=True, slots=True)
class AliasMove:
    """Who moved which alias to which version, when and why; the version is empty where the alias was taken away."""

    sequence: int
    alias: str
    version: str
    moved_at: str
    by: str
    reason: str = ""
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """The record as it is kept."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "AliasMove":
        """Reads a record."""
        return cls(**form)


class AliasLog:
    """The moves of all aliases of all models.

    Args:
        store: Where the moves lie.
        redis: The server that counts and indexes them.
        keys: Its key names.
    """

    def __init__(self, store: ArtifactStore, redis: Redis, keys: Keyspace) -> None:
        self._store = store
        self._redis = redis
        self._keys = keys
        self._count = redis.register_script(_COUNT)
        self._enter = redis.register_script(_ENTER)
        self._moves: dict[str, AliasMove] = {}

    def append(self, owner: str, name: str, alias: str, version: str, by: str, reason: str) -> AliasMove:
        """Keeps a move and makes it the alias's newest."""
        floor = max((sequence for sequence, _ in self._recorded(owner, name)), default=0)
        with translated():
            sequence = int(self._count(keys=[self._keys.plain("alias-sequence")], args=[floor]))
            seconds, micros = self._redis.time()
        move = AliasMove(sequence, alias, version, iso(seconds + micros / 1e6), by, reason)
        self._store.write(_path(owner, name, sequence, alias), json.dumps(move.to_json()).encode())
        self._index(owner, name, move)
        return move

    def current(self, owner: str, name: str) -> dict[str, str]:
        """The version of each alias, from the index."""
        with translated():
            entries = cast(Mapping[bytes, bytes], self._redis.hgetall(self._key(owner, name)))
        versions = {alias.decode(): entry.decode().partition(":")[2] for alias, entry in sorted(entries.items())}
        return {alias: version for alias, version in versions.items() if version}

    def version_of(self, owner: str, name: str, alias: str) -> str | None:
        """The version of one alias, from the index."""
        with translated():
            entry = cast(bytes | None, self._redis.hget(self._key(owner, name), alias))
        return None if entry is None else entry.decode().partition(":")[2] or None

    def history(self, owner: str, name: str, alias: str | None = None) -> list[AliasMove]:
        """All moves, newest first; of one alias where one is named."""
        recorded = [entry for entry in self._recorded(owner, name) if alias in (None, entry[1])]
        return [self._read(owner, name, sequence, of) for sequence, of in sorted(recorded, reverse=True)]

    def rebuild(self, owner: str, name: str) -> None:
        """Enters the newest move of each alias of a model into the index."""
        newest: dict[str, int] = {}
        for sequence, alias in sorted(self._recorded(owner, name)):
            newest[alias] = sequence
        for alias, sequence in newest.items():
            self._index(owner, name, self._read(owner, name, sequence, alias))

    def drop(self, owner: str, name: str) -> None:
        """Forgets the aliases of a model, index and moves."""
        with translated():
            self._redis.delete(self._key(owner, name))
        self._store.delete(_folder(owner, name))

    def _recorded(self, owner: str, name: str) -> list[tuple[int, str]]:
        entries = (entry.removesuffix(".json").partition("-") for entry in self._store.names(_folder(owner, name)))
        return [(int(sequence), alias) for sequence, _, alias in entries]

    def _read(self, owner: str, name: str, sequence: int, alias: str) -> AliasMove:
        path = _path(owner, name, sequence, alias)
        if path not in self._moves:
            self._moves[path] = AliasMove.from_json(json.loads(self._store.read(path)))
        return self._moves[path]

    def _index(self, owner: str, name: str, move: AliasMove) -> None:
        # Digits of one length, so that the script may compare them as text.
        with translated():
            self._enter(keys=[self._key(owner, name)], args=[move.alias, f"{move.sequence:016d}:{move.version}"])

    def _key(self, owner: str, name: str) -> str:
        return self._keys.plain("aliases", f"{owner}/{name}")


def _folder(owner: str, name: str) -> str:
    return f"models/{owner}/{name}/aliases"


def _path(owner: str, name: str, sequence: int, alias: str) -> str:
    return f"{_folder(owner, name)}/{sequence:016d}-{alias}.json"
