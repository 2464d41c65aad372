"""Reads jobs: one, a page of a listing, a place in the queue."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import orjson

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import InvalidInput
from shared.heartbeats import Heartbeats
from shared.jobs.job import WEIGHTS, Job, JobKind, JobStatus, job_from_record
from shared.jobs.lua import Scripts
from shared.jobs.new_job import NewJob
from shared.jobs.paces import Paces
from shared.jobs.queue import LIMIT
from shared.roles import Role
from shared.settings import Settings

SCAN = 5000
"""Most entries of a listing that one page looks through for a filter; a page may be short, its cursor goes on."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing, newest first."""

    jobs: Sequence[Job]
    next_cursor: str | None
    """Where older jobs begin; ``None`` at the end."""
    previous_cursor: str | None
    """Where newer jobs begin; ``None`` on the first page."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting job stands."""

    position: int
    """Jobs that are ahead of it in its line."""
    estimated_wait_seconds: float | None
    """From the pace at which the queue drains; ``None`` where no worker lives or none has computed yet."""


class JobStore:
    """Reads the records.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where large inputs lie.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore | None = None) -> None:
        self._redis = redis
        self._artifacts = artifacts
        self._keys = open_keyspace(settings)
        self._scripts = Scripts(redis)
        self._paces = Paces(redis, settings)
        self._heartbeats = Heartbeats(redis, settings)

    def get(self, job_id: str) -> Job | None:
        """A job with its input, output and logs; ends it first where its deadline has passed."""
        job = self._read(job_id)
        if job is not None and not job.is_terminal and job.deadline <= self.now():
            while len(self._scripts.call("expire", self._keys.tag(job_id[0]), LIMIT)) == LIMIT:
                continue
            job = self._read(job_id)
        return job

    def peek(self, job_id: str) -> Job | None:
        """A job without its input, output and logs."""
        if not job_id:
            return None
        with translated():
            record = cast(dict[bytes, bytes], self._redis.hgetall(self._keys.of_job("job", job_id)))
        return job_from_record(job_id, _text(record)) if record else None

    def now(self) -> float:
        """Redis' clock in seconds."""
        with translated():
            seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def list(
        self,
        account: str,
        kinds: Sequence[JobKind],
        *,
        model: str | None = None,
        version: str | None = None,
        status: JobStatus | None = None,
        created_after: float | None = None,
        created_before: float | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> JobPage:
        """One page of an account's jobs, newest first, with their data save inputs too large for Redis.

        Args:
            account: Whose jobs.
            kinds: Of which kinds.
            model: Only those of this model, ``owner/name``.
            version: Only those of this version.
            status: Only those in this status.
            created_after: Only those made at or after this moment, seconds since the epoch.
            created_before: Only those made before this moment.
            cursor: A cursor of an earlier page; the filters must be the same.
            limit: Most jobs of the page.

        Raises:
            InvalidInput: The cursor is not one of ours.
        """
        newer, mark = _parse(cursor)
        low = int(created_after * 1000) if created_after is not None else 0
        high = int(created_before * 1000) - 1 if created_before is not None else 1 << 62

        def wanted(job: Job) -> bool:
            return (
                model in (None, job.model)
                and version in (None, job.version)
                and (status is None or job.status is status)
            )

        found: list[tuple[tuple[int, str], Job]] = []
        looked = 0
        last = mark
        exhausted = False
        while len(found) <= limit and looked < SCAN and not exhausted:
            chunk = self._chunk(account, kinds, last, newer, low, high)
            exhausted = not chunk
            looked += len(chunk)
            for entry, job in zip(chunk, self._peek_many([id_ for _, id_ in chunk]), strict=True):
                last = entry
                if job is not None and wanted(job):
                    found.append((entry, job))
                    if len(found) > limit:
                        break
        more = len(found) > limit or not exhausted
        kept = found[:limit]
        edge = kept[-1][0] if len(found) > limit else last
        if newer:
            kept.reverse()
        first_mark = kept[0][0] if kept else mark
        next_mark = (kept[-1][0] if kept else mark) if newer else (edge if more else None)
        previous = (edge if more else None) if newer else (first_mark if mark is not None else None)
        whole = self._read_many([job.id for _, job in kept], spilled=False)
        return JobPage(
            [job for job in whole if job is not None],
            _cursor("o", next_mark) if next_mark is not None else None,
            _cursor("n", previous) if previous is not None else None,
        )

    def runs(self, model: str) -> int:
        """How many predictions and trainings were ever made with a model, whatever became of them."""
        with translated():
            return int(cast(bytes | None, self._redis.hget(self._keys.in_shard("runs"), model)) or 0)

    def drop_runs(self, model: str) -> None:
        """Forgets that number, with a model that is deleted."""
        with translated():
            self._redis.hdel(self._keys.in_shard("runs"), model)

    def place(self, job: Job) -> Place | None:
        """Where a waiting job stands, or ``None`` where it waits no more."""
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for line in (job.queue, job.queue + "!"):
                pipe.zrank(self._keys.in_shard("queue", line, shard=job.id[0]), job.id)
            rank, side_rank = pipe.execute()
        position = rank if rank is not None else side_rank
        return None if position is None else Place(int(position), self._wait(job.queue, job.pool, int(position)))

    def expected_wait(self, new: NewJob) -> float | None:
        """Seconds until a job would be computed that is submitted now; ``None`` where nothing tells.

        Its place follows from the score that it would get, so another account's backlog counts as little as it will.
        """
        load = self._keys.in_shard("load", new.queue)
        with translated():
            clock, finish = self._redis.hmget(load, "v", f"f:{new.account}:{new.priority}")
            score = max(float(clock or 0), float(finish or 0)) + WEIGHTS[new.priority] * new.rows
            ahead = self._redis.zcount(self._keys.in_shard("queue", new.queue), "-inf", f"({score}")
        return self._wait(new.queue, new.pool, int(ahead))

    def _wait(self, queue: str, pool: str, ahead: int) -> float | None:
        """Seconds for so many jobs of a queue, by its pace of late; ``None`` where no worker lives to take them."""
        role, label = Role.of_queue(pool), pool.partition(".")[2]
        is_alive = self._heartbeats.living(kind=role and role.worker_kind, pool=label)
        return self._paces.wait(queue, ahead) if is_alive else None

    def _read(self, job_id: str) -> Job | None:
        return self._read_many([job_id])[0] if job_id else None

    def _peek_many(self, ids: Sequence[str]) -> Sequence[Job | None]:
        if not ids:
            return []
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(self._keys.of_job("job", job_id))
            records: list[dict[bytes, bytes]] = pipe.execute()
        return [
            job_from_record(id_, _text(record)) if record else None for id_, record in zip(ids, records, strict=True)
        ]

    def _read_many(self, ids: Sequence[str], spilled: bool = True) -> Sequence[Job | None]:
        if not ids:
            return []
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(self._keys.of_job("job", job_id))
                pipe.hgetall(self._keys.of_job("data", job_id))
            replies: list[dict[bytes, bytes]] = pipe.execute()
        return [
            self._job(job_id, record, data, spilled) if record else None
            for job_id, record, data in zip(ids, replies[::2], replies[1::2], strict=True)
        ]

    def _job(self, job_id: str, record: dict[bytes, bytes], data: dict[bytes, bytes], spilled: bool) -> Job:
        job = job_from_record(job_id, _text(record), data)
        spill = record.get(b"spill", b"").decode()
        if spill and spilled and data and self._artifacts is not None:
            try:
                return replace(job, input=orjson.loads(self._artifacts.read(spill)))
            except FileNotFoundError:
                return job
        return job

    def _chunk(
        self, account: str, kinds: Sequence[JobKind], mark: tuple[int, str] | None, newer: bool, low: int, high: int
    ) -> Sequence[tuple[int, str]]:
        """The next entries beyond a mark, merged over the kinds; entries of equal time are ordered by id."""
        if mark is not None:
            low, high = (max(low, mark[0]), high) if newer else (low, min(high, mark[0]))
        entries: list[tuple[int, str]] = []
        whole = True
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for kind in kinds:
                key = self._keys.in_shard("list", f"{account}:{kind}")
                if newer:
                    pipe.zrangebyscore(key, low, high, 0, 2 * LIMIT, withscores=True)
                else:
                    pipe.zrevrangebyscore(key, high, low, 0, 2 * LIMIT, withscores=True)
            pages: list[list[tuple[bytes, float]]] = pipe.execute()
        reach: list[tuple[int, str]] = []
        for page in pages:
            members = [(int(score), member.decode()) for member, score in page]
            entries += members
            if len(members) == 2 * LIMIT:
                whole = False
                reach.append(members[-1])
        entries.sort(reverse=not newer)
        if not whole:
            # Beyond the end of the shortest full page another kind's entries may be missing.
            end = min(reach) if newer else max(reach)
            entries = [entry for entry in entries if (entry <= end if newer else entry >= end)]
        if mark is not None:
            entries = [entry for entry in entries if (entry > mark if newer else entry < mark)]
        return entries


def _text(record: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode(errors="replace") for field, value in record.items()}


def _cursor(direction: str, mark: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(f"{direction}{mark[0]}.{mark[1]}".encode()).decode().rstrip("=")


def _parse(cursor: str | None) -> tuple[bool, tuple[int, str] | None]:
    if not cursor:
        return False, None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, job_id = text[1:].partition(".")
        if text[0] not in "on" or not job_id:
            raise ValueError(text)
        return text[0] == "n", (int(moment), job_id)
    except (ValueError, IndexError, binascii.Error) as error:
        raise InvalidInput("The cursor is not one of this list; start without it.", "cursor", "format") from error
