"""Copies our keys out of a server and into another one, by commands that managed servers allow too.

A live server changes between two reads, so what follows from the records of jobs (queues, claims, sums) is left out and
made again from them. Records come first: the webhook of an end that a record shows is then in what is read after it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, cast

from redis.exceptions import ResponseError

from shared.connections import Redis, open_keyspace, translated
from shared.errors import Conflict, InvalidInput
from shared.jobs.job import JobKind
from shared.jobs.lua import Scripts
from shared.keyspace import SHARDS
from shared.settings import Settings

BATCH = 100
_DERIVED = (
    "queue:", "born:", "load:", "ready:", "bell:", "nudge:", "claims", "claim:", "open", "account:", "waiters:",
)  # fmt: skip
_PASSING = (
    "celery:", "sweeper", "wake:", "rate:", "workers", "worker:", "listeners", "lock:", "webhook-trial:", "loads:",
)  # fmt: skip


class KeyCopier:
    """Reads and writes the keys of one service.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = open_keyspace(settings).prefix
        self._tags = [open_keyspace(settings).tag(shard) for shard in SHARDS]
        self._scripts = Scripts(redis)

    def is_empty(self) -> bool:
        """Whether the server has no more of a service than a first start leaves there."""
        usual = (
            f"{self._prefix}:key:",
            f"{self._prefix}:keys",
            f"{self._prefix}:url-secret",
            f"{self._prefix}:versions",
        )
        return all(name.decode().startswith(usual) or name.endswith(b":totals") for name in self._names())

    def clear(self) -> None:
        """Removes every key of the service."""
        with translated():
            for name in list(self._redis.scan_iter(f"{_escaped(self._prefix)}:*", count=1000)):
                self._redis.unlink(name)

    def dump(self, out: BinaryIO, progress: Callable[[int], None]) -> int:
        """Writes every key as one line; returns how many."""
        count = 0
        # Once more: what was made while the records were read is not theirs, but belongs to it all the same.
        for wanted in (self._is_record, lambda name: not self._is_record(name)):
            for batch in _batches(name for name in self._names() if wanted(name.decode())):
                with translated(), self._redis.pipeline(transaction=False) as pipe:
                    for name in batch:
                        pipe.dump(name)
                        pipe.pexpiretime(name)
                    replies = pipe.execute()
                for name, value, ends in zip(batch, replies[::2], replies[1::2], strict=True):
                    if value is not None:
                        line = [name.decode()[len(self._prefix) :], int(ends), base64.b64encode(value).decode()]
                        out.write(json.dumps(line).encode() + b"\n")
                        count += 1
                progress(count)
        return count

    def load(self, lines: Iterable[bytes], progress: Callable[[int], None]) -> tuple[int, int]:
        """Writes keys as ``dump`` gave them, and makes what follows from them; returns keys, and jobs that wait again.

        Raises:
            InvalidInput: The server does not understand the values; it is older than the one that gave them.
        """
        count, jobs = 0, []
        for batch in _batches(lines):
            with translated(), self._redis.pipeline(transaction=False) as pipe:
                for line in batch:
                    rest, ends, value = json.loads(line)
                    pipe.restore(self._prefix + rest, max(0, ends), base64.b64decode(value), replace=True, absttl=True)
                    if self._is_record(self._prefix + rest) and ":job:" in rest:
                        jobs.append(rest.rpartition(":")[2])
                try:
                    pipe.execute()
                except ResponseError as error:
                    if "DUMP payload" in str(error):
                        raise InvalidInput(
                            "This server is older than the one that was backed up; restore to one as new as that."
                        ) from error
                    raise
            count += len(batch)
            progress(count)
        return count, self._reopen(jobs)

    def _reopen(self, jobs: list[str]) -> int:
        with translated():
            for tag in self._tags:
                fields = [f"{kind}:{status}" for kind in JobKind for status in ("starting", "processing")]
                self._redis.hdel(f"{tag}:totals", *fields)
                for name in list(self._redis.scan_iter(f"{_escaped(tag)}:idem:*", count=1000)):
                    known = cast(bytes | None, self._redis.get(name))
                    # Its job was made after the records were read.
                    if known and not self._redis.exists(f"{tag}:job:{known.partition(b'|')[0].decode()}"):
                        self._redis.delete(name)
        return sum(
            int(self._scripts.call("reopen", tag, *batch))
            for tag in self._tags
            for batch in _batches(id_ for id_ in jobs if id_[0] == tag[-2])
        )

    def _is_record(self, name: str) -> bool:
        return any(name.startswith((f"{tag}:job:", f"{tag}:data:")) for tag in self._tags)

    def _names(self) -> Iterator[bytes]:
        """The names of all keys but those that follow from others or pass by themselves."""
        left_out = tuple(f"{tag}:{part}" for tag in self._tags for part in _DERIVED)
        left_out += tuple(f"{self._prefix}:{part}" for part in _PASSING)
        seen: set[bytes] = set()
        with translated():
            for name in self._redis.scan_iter(f"{_escaped(self._prefix)}:*", count=1000):
                if name not in seen and not name.decode(errors="replace").startswith(left_out):
                    seen.add(name)
                    yield name


def refuse_living(workers: Iterable[Any]) -> None:
    """Refuses to go on where workers live.

    Raises:
        Conflict: Some do.
    """
    names = ", ".join(sorted(worker.name for worker in workers))
    if names:
        raise Conflict(f"Workers live ({names}); stop every API and worker before a restore.")


def _batches(names: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for name in names:
        batch.append(name)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)
