"""Files that accounts upload: their records in Redis, their bytes in the artifact store, both for a limited time.

The list of things to delete knows the bytes from before the first one is written, and a record is made only while that
entry stands. So whatever dies in between leaves neither bytes without a record nor a record without bytes.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import NotFound, TooLarge, Unavailable
from shared.jobs.job import new_job_id
from shared.settings import Settings

MAX_FILES = 100_000
"""Most files of one account at once, whatever their size."""

_PENDING_SECONDS = 3600.0  # an upload that is not complete by then is taken for dead
_TIDY_LIMIT = 100

# In each script KEYS[1] is the tag of the shard, to which the keys of shared/keyspace.py are put.
_KEEP = """
local P, call = KEYS[1], redis.call
local id, account, size, ends, path, created, most, count = unpack(ARGV, 1, 8)
if call('EXISTS', P..':file:'..id) == 1 then return 'kept' end
if not call('ZSCORE', P..':spilled', path) then return 'late' end
if (call('HGET', P..':file-bytes', account) or 0) + size > tonumber(most) then return 'full' end
if call('ZCARD', P..':files:'..account) >= tonumber(count) then return 'many' end
call('HSET', P..':file:'..id, unpack(ARGV, 9))
call('PEXPIREAT', P..':file:'..id, ends)
call('ZADD', P..':files:'..account, created, id)
call('ZADD', P..':file-ends', ends, account..'|'..id..'|'..size)
call('ZADD', P..':spilled', ends, path)
call('HINCRBY', P..':file-bytes', account, size)
return 'kept'
"""
_FORGET = """
local P, call = KEYS[1], redis.call
local function forget(entry)
  local account, id, size = entry:match('^(.-)|(.-)|(.*)$')
  if call('ZREM', P..':file-ends', entry) == 0 then return 0 end
  call('DEL', P..':file:'..id)
  call('ZREM', P..':files:'..account, id)
  if call('HINCRBY', P..':file-bytes', account, -size) <= 0 then call('HDEL', P..':file-bytes', account) end
  return 1
end
"""
_DROP = _FORGET + "call('ZADD', P..':spilled', 0, ARGV[2])  return forget(ARGV[1])"
_TIDY = (
    _FORGET
    + """
local time = call('TIME')
local ended = call('ZRANGEBYSCORE', P..':file-ends', '-inf', time[1] * 1000 + time[2] / 1000, 'LIMIT', 0, ARGV[1])
for _, entry in ipairs(ended) do forget(entry) end
return #ended
"""
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is kept of one file; times are seconds since the epoch."""

    id: str
    account: str
    name: str
    """What its owner calls it; only for people to read, and never part of a path."""
    content_type: str
    """As its bytes say."""
    size: int
    sha256: str
    metadata: Mapping[str, Any]
    created_at: float
    expires_at: float

    @property
    def path(self) -> str:
        """Where its bytes lie in the artifact store."""
        return f"{_folder(self.id)}/content"


class Files:
    """Keeps, finds and deletes files.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where the bytes lie.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore) -> None:
        self._redis = redis
        self._limits = settings.files
        self._artifacts = artifacts
        self._keys = open_keyspace(settings)

    def keep(
        self,
        content: BinaryIO,
        *,
        account: str,
        key_id: str,
        name: str,
        content_type: str,
        size: int,
        sha256: str,
        metadata: Mapping[str, Any],
    ) -> StoredFile:
        """Copies an open file into the store, in pieces, and makes its record.

        Args:
            content: The file; it is read from its start.
            account: Whose it is.
            key_id: The key that brought it.
            name: What its owner calls it.
            content_type: Its type.
            size: Its size in bytes.
            sha256: Its digest.
            metadata: What its owner says of it, a JSON object.

        Raises:
            TooLarge: The account has as much stored as it may.
            Unavailable: Redis or the store does not answer.
        """
        self.check_room(account, size)
        id_, now = new_job_id(), round(time.time(), 3)
        file = StoredFile(
            id_, account, name, content_type, size, sha256, metadata, now, now + self._limits.retain_seconds
        )
        with translated():
            pending = {_folder(id_): int((now + _PENDING_SECONDS) * 1000)}
            self._redis.zadd(self._keys.in_shard("spilled"), pending)
        try:
            self._artifacts.put_open(content, file.path)
        except BaseException:
            self._discard(id_)
            raise
        self._record(file, key_id)
        return file

    def check_room(self, account: str, size: int) -> None:
        """Looks whether an account may store so many bytes more.

        Raises:
            TooLarge: It may not.
        """
        self.tidy()
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(self._keys.in_shard("file-bytes"), account)
            pipe.zcard(self._keys.in_shard("files", account))
            used, count = pipe.execute()
        if int(used or 0) + size > self._limits.account_max_bytes:
            raise self._full(account, int(used or 0))
        if int(count) >= MAX_FILES:
            raise TooLarge(f"The account {account} has {MAX_FILES} files, and may have no more: delete some.")

    def get(self, account: str, file_id: str) -> StoredFile:
        """A file of an account.

        Raises:
            NotFound: The account has no such file, or has it no longer.
        """
        found = self.read(account, [file_id])
        if not found:
            raise NotFound(f"There is no file {file_id[:64]} of this account; it may have expired or been deleted.")
        return found[0]

    def ids(self, account: str) -> Sequence[str]:
        """Ids of an account's files; in order they are the oldest first."""
        with translated():
            members: Any = self._redis.zrange(self._keys.in_shard("files", account), 0, -1)
        return [member.decode() for member in members]

    def read(self, account: str, ids: Sequence[str]) -> Sequence[StoredFile]:
        """Those of the named files that are there and the account's, in the same order."""
        if not ids:
            return []
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hgetall(self._keys.in_shard("file", id_))
            records: Sequence[Mapping[bytes, bytes]] = pipe.execute()
        files = [_file(id_, record) for id_, record in zip(ids, records, strict=True) if record]
        now = time.time()
        return [file for file in files if file.account == account and file.expires_at > now]

    def delete(self, account: str, file_id: str) -> None:
        """Removes a file of an account, its bytes too.

        Raises:
            NotFound: The account has no such file.
        """
        file = self.get(account, file_id)
        with translated():
            self._redis.eval(_DROP, 1, self._keys.tag(), f"{account}|{file.id}|{file.size}", _folder(file.id))
        self._discard(file.id)

    def tidy(self) -> None:
        """Forgets files whose time is over; their bytes go with what else is due in the artifact store."""
        with translated():
            while self._redis.eval(_TIDY, 1, self._keys.tag(), str(_TIDY_LIMIT)) == _TIDY_LIMIT:
                continue

    def _record(self, file: StoredFile, key_id: str) -> None:
        ends, created = int(file.expires_at * 1000), int(file.created_at * 1000)
        fields = (
            "schema", 1, "account", file.account, "key_id", key_id, "name", file.name, "type", file.content_type,
            "size", file.size, "sha256", file.sha256, "metadata", orjson.dumps(file.metadata),
            "created", created, "ends", ends,
        )  # fmt: skip
        args = (file.id, file.account, file.size, ends, _folder(file.id), created, self._limits.account_max_bytes)
        with translated():
            # An answer that is lost on its way leaves it open whether there is a record: then the bytes stay until
            # the list of things to delete says otherwise.
            state: Any = self._redis.eval(_KEEP, 1, self._keys.tag(), *map(str, args), str(MAX_FILES), *fields)
        if state == b"kept":
            return
        self._discard(file.id)
        if state == b"late":
            raise Unavailable("The upload took too long; try again.")
        self.check_room(file.account, file.size)
        raise self._full(file.account, self._limits.account_max_bytes)

    def _discard(self, file_id: str) -> None:
        """Deletes bytes at once; where that fails the sweeps find them in the list of things to delete."""
        with suppress(Unavailable):
            self._artifacts.delete(_folder(file_id))
            with translated():
                self._redis.zrem(self._keys.in_shard("spilled"), _folder(file_id))

    def _full(self, account: str, used: int) -> TooLarge:
        most = self._limits.account_max_bytes
        return TooLarge(
            f"The account {account} has {used} bytes of files stored and may have {most}: delete files it needs no "
            "longer (headrace files delete), or wait until they expire."
        )


def _folder(file_id: str) -> str:
    return f"files/{file_id}"


def _file(id_: str, record: Mapping[bytes, bytes]) -> StoredFile:
    return StoredFile(
        id=id_,
        account=record[b"account"].decode(),
        name=record[b"name"].decode(),
        content_type=record[b"type"].decode(),
        size=int(record[b"size"]),
        sha256=record[b"sha256"].decode(),
        metadata=orjson.loads(record[b"metadata"]),
        created_at=int(record[b"created"]) / 1000,
        expires_at=int(record[b"ends"]) / 1000,
    )
