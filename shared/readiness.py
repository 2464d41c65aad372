"""Whether Redis can hold jobs now: it answers, and throws no key away when memory is short."""

from redis.exceptions import ResponseError

from shared.connections import Redis, translated
from shared.errors import ServiceError


def redis_problem(redis: Redis) -> str | None:
    """What is wrong with the server in one sentence, or ``None``.

    A server that does not let us ask for its policy counts as fit: ``doctor`` says more.
    """
    try:
        with translated():
            redis.ping()
            policy = _policy(redis)
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
