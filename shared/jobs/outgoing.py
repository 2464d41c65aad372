"""Work for the world outside: webhooks to deliver and inputs to fetch, each in lanes of their own for every host.

What is due follows from the change of the job that called for it, in the same script. An io worker leases an errand and
concludes it; one whose worker died is due again when the lease has passed, under the same name and so the same webhook
id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from shared.connections import Redis, open_keyspace, translated
from shared.jobs.lua import Scripts
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Errand:
    """One piece of work, leased to this process."""

    host: str
    """Its lane: ``host:port``, or ``fetch@host:port`` for downloads."""
    job_id: str
    what: str
    """``start``, ``progress`` or ``completed`` of a job, ``fetch`` of its inputs, or ``test`` of a receiver."""
    lease: int
    """Ends then, in milliseconds by Redis' clock."""
    tries: int
    """Attempts before this one."""


@dataclass(frozen=True, slots=True)
class Leased:
    """What a worker got to do."""

    errands: Sequence[Errand]
    next_due_seconds: float | None
    """When there will be more, seconds from now; ``None`` for never as things stand."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A webhook that was given up."""

    job_id: str
    what: str
    at: float
    """When it was given up, seconds since the epoch."""


class Outgoing:
    """The lanes as io workers and the API see them.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._scripts = Scripts(redis)
        self._lease = int(settings.webhooks.lease_seconds * 1000)
        self._account_max_bytes = settings.queue.account_max_bytes

    @property
    def channel(self) -> str:
        """Channel that names a host whenever work for it is due within five seconds."""
        return self._keys.in_shard("outgoing")

    def send(self, host: str, job_id: str, what: str, seconds: float = 0.0) -> None:
        """Enters an errand that follows from no change of a job."""
        self._call("post", host, f"{job_id}|{what}", int(seconds * 1000))

    def lease(
        self, count: int, *, per_host: int, busy: Mapping[str, int] | None = None, fetches: bool = False
    ) -> Leased:
        """Leases what is due, oldest hosts first.

        Args:
            count: Most errands.
            per_host: Most errands that this process may have under way for one host.
            busy: How many it has, by host; as many as ``per_host`` leaves a host out.
            fetches: Of the lanes of downloads only, or of all others only.
        """
        held = [part for host, number in (busy or {}).items() for part in (host, number)]
        later, *rows = self._call("dispatch", count, per_host, self._lease, int(fetches), *held)
        errands = [
            Errand(host.decode(), id_.decode(), what.decode(), lease, tries) for host, id_, what, lease, tries in rows
        ]
        with translated():
            seconds, microseconds = self._redis.time()
        now = int(seconds) * 1000 + int(microseconds) // 1000
        return Leased(errands, None if later < 0 else max(0, later - now) / 1000)

    def done(self, errand: Errand, attempt: Mapping[str, Any] | None = None) -> bool:
        """Ends an errand; False where its lease had passed and another worker has it.

        Args:
            errand: The errand.
            attempt: What to write into the job's delivery log, JSON values.
        """
        return self._conclude(errand, "done", 0, attempt)

    def retry(self, errand: Errand, seconds: float, attempt: Mapping[str, Any] | None = None) -> bool:
        """Makes an errand due again after so many seconds; its next lease counts one try more."""
        return self._conclude(errand, "retry", self._due(seconds), attempt)

    def postpone(self, errand: Errand, seconds: float) -> bool:
        """Makes an errand due again after so many seconds, as though it had not been tried."""
        return self._conclude(errand, "later", self._due(seconds), None)

    def dead(self, errand: Errand, attempt: Mapping[str, Any] | None = None) -> bool:
        """Gives an errand up; its webhook becomes a dead letter."""
        return self._conclude(errand, "dead", 0, attempt)

    def weigh(self, job_id: str, fetched: int) -> tuple[str, int]:
        """Counts what a held job fetches: so many bytes, beside its own.

        Returns:
            ``held``; ``full`` where its account has no room for them now; ``gone`` where it is not held. And its own
            bytes.
        """
        state, own = self._call("weigh", job_id, fetched, self._account_max_bytes)
        return state.decode(), own

    def pause(self, host: str, seconds: float) -> None:
        """Lets nothing go to a host for so many seconds; 0 ends that."""
        self._call("pause", host, int(seconds * 1000))

    def log(self, job_id: str) -> list[dict[str, Any]]:
        """The attempts to deliver a job's webhooks, oldest first, at most the last 100."""
        with translated():
            entries = cast(list[bytes], self._redis.lrange(self._keys.of_job("deliveries", job_id), 0, -1))
        return [orjson.loads(entry) for entry in entries]

    def redeliver(self, job_id: str, event: str) -> bool:
        """Sends ``start`` or ``completed`` of a job again; False where it wants no such webhook, or not yet."""
        return bool(self._call("redeliver", job_id, event))

    def dead_letters(self, account: str, limit: int = 100) -> list[DeadLetter]:
        """The webhooks of an account that were given up, newest first; those of deleted jobs are dropped."""
        key = self._keys.in_shard("dead", account)
        with translated():
            entries = cast(list[tuple[bytes, float]], self._redis.zrevrange(key, 0, limit - 1, withscores=True))
            if not entries:
                return []
            letters = [_letter(name, at) for name, at in entries]
            with self._redis.pipeline(transaction=False) as pipe:
                for letter in letters:
                    pipe.exists(self._keys.of_job("job", letter.job_id))
                known = pipe.execute()
            gone = [name for (name, _), there in zip(entries, known, strict=True) if not there]
            if gone:
                self._redis.zrem(key, *gone)
        return [letter for letter, there in zip(letters, known, strict=True) if there]

    def _due(self, seconds: float) -> int:
        with translated():
            now, microseconds = self._redis.time()
        return int(now) * 1000 + int(microseconds) // 1000 + int(seconds * 1000)

    def _conclude(self, errand: Errand, outcome: str, due: int, attempt: Mapping[str, Any] | None) -> bool:
        entry = orjson.dumps(attempt) if attempt is not None else b""
        args = (errand.host, errand.job_id, errand.what, errand.lease, outcome, due, entry)
        return bool(self._call("conclude", *args))

    def _call(self, name: str, *args: Any) -> Any:
        return self._scripts.call(name, self._keys.tag(), *args)


def _letter(name: bytes, milliseconds: float) -> DeadLetter:
    job_id, _, what = name.decode().partition("|")
    return DeadLetter(job_id, what, milliseconds / 1000)
