"""Whether Redis can hold jobs now: it answers, takes writes, and throws no key away when memory is short."""

from redis.exceptions import ResponseError

from shared.connections import Redis, open_keyspace, translated
from shared.errors import ServiceError, TooManyRequests
from shared.settings import Settings

_FULL = "Redis refuses writes, its memory is full (maxmemory); raise the limit, or wait until ended jobs expire."


def redis_problem(redis: Redis, settings: Settings) -> str | None:
    """What is wrong with the server in one sentence, or ``None``.

    A server that does not let us ask for its policy counts as fit: ``doctor`` says more.
    """
    try:
        with translated():
            # The server refuses this as any other write, for want of memory, disk or replicas, and only it knows when
            # it does: not all memory counts against the limit. XX changes nothing, since there never is such a key, so
            # that a probe reaches neither the append-only file nor a replica.
            redis.set(open_keyspace(settings).plain("writable"), b"", xx=True)
            policy = _policy(redis)
    except TooManyRequests:
        return _FULL
    except ServiceError as error:
        return error.detail
    if policy in (None, "noeviction"):
        return None
    return f"Redis would evict jobs (maxmemory-policy {policy}); set it to noeviction."


def _policy(redis: Redis) -> str | None:
    try:
        policy = redis.info("memory").get("maxmemory_policy")
    except ResponseError:
        return None
    return str(policy) if policy is not None else None
