"""Finds the jobs that are held: in no line yet, since their inputs are still being fetched."""

from typing import cast

from shared.connections import Redis, translated
from shared.jobs.job import SCHEMA
from shared.jobs.new_job import subject_of
from shared.keyspace import Keyspace

_PAGE = 1000


def held_jobs(redis: Redis, keys: Keyspace, subject: str) -> set[str]:
    """The held jobs of a version or kind; those of later releases are left out.

    A held job has an entry in the lane of a host until it is let into its queue or ends, also while an io worker has
    it; so whatever is held from the first step here to the last is found.
    """
    found: set[str] = set()
    with translated():
        for host, _ in redis.zscan_iter(keys.in_shard("outgoing-hosts"), count=_PAGE):
            lane, cursor = keys.in_shard("outgoing", host.decode()), -1
            while cursor:
                cursor, scanned = redis.zscan(lane, max(0, cursor), match="*|fetch", count=_PAGE)
                entries = cast(list[tuple[bytes, float]], scanned)
                ids = [entry.decode().rpartition("|")[0] for entry, _ in entries]
                with redis.pipeline(transaction=False) as pipe:
                    for id_ in ids:
                        pipe.hmget(keys.of_job("job", id_), "queue", "schema")
                    facts = cast(list[list[bytes | None]], pipe.execute())
                for id_, (queue, schema) in zip(ids, facts, strict=True):
                    if queue is not None and subject_of(queue.decode()) == subject and int(schema or 1) <= SCHEMA:
                        found.add(id_)
    return found
