"""What a Redis server says of itself, also where it forbids ``CONFIG``, and whether it will do."""

from dataclasses import dataclass
from typing import Any

from cli.data_folder import without_password
from cli.terminal import Failure
from shared.connections import Redis, open_redis, translated
from shared.errors import ServiceError
from shared.settings import Settings

OLDEST_REDIS = 7
OLDEST_VALKEY = 8


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What we ask of a server; ``None`` where it would not say."""

    is_valkey: bool
    version: str
    policy: str | None
    is_durable: bool | None
    append_fsync: str | None
    used_bytes: int | None
    max_bytes: int | None

    @property
    def name(self) -> str:
        """Product and version."""
        return f"{'Valkey' if self.is_valkey else 'Redis'} {self.version or 'of unknown version'}"

    @property
    def is_old(self) -> bool:
        """Whether it is older than what we build on."""
        major = self.version.partition(".")[0]
        return major.isdigit() and int(major) < (OLDEST_VALKEY if self.is_valkey else OLDEST_REDIS)


def read_facts(redis: Redis) -> RedisFacts:
    """Asks a server.

    Raises:
        Unavailable: It does not answer.
    """
    with translated():
        redis.ping()
    server, memory, persistence = (_info(redis, section) for section in ("server", "memory", "persistence"))
    valkey = server.get("valkey_version", "")
    aof = persistence.get("aof_enabled")
    return RedisFacts(
        is_valkey=bool(valkey) or server.get("server_name") == "valkey",
        version=str(valkey or server.get("redis_version", "")),
        policy=memory.get("maxmemory_policy") or _config(redis, "maxmemory-policy"),
        is_durable=None if aof is None else bool(aof),
        append_fsync=_config(redis, "appendfsync"),
        used_bytes=memory.get("used_memory"),
        max_bytes=memory.get("maxmemory") or None,
    )


def refuse_unfit(settings: Settings) -> RedisFacts:
    """Checks the server that the environment names, before anything is started on it.

    Raises:
        Failure: It does not answer, is too old, or throws keys away when memory is short.
    """
    url = without_password(settings.redis.url)
    try:
        facts = read_facts(open_redis(settings))
    except ServiceError as error:
        raise Failure(f"No Redis server answers at {url}; check HEADRACE_REDIS__URL.") from error
    except ValueError as error:
        raise Failure(f"HEADRACE_REDIS__URL cannot be used: {error}") from error
    if facts.is_old:
        raise Failure(f"{facts.name} at {url} is too old: Redis {OLDEST_REDIS} or Valkey {OLDEST_VALKEY} is needed.")
    if facts.policy not in (None, "noeviction"):
        raise Failure(
            f"The Redis server at {url} would evict jobs (maxmemory-policy {facts.policy}); set it to noeviction."
        )
    return facts


def _info(redis: Redis, section: str) -> dict[str, Any]:
    try:
        with translated():
            found: dict[str, Any] = redis.info(section)
    except ServiceError:
        raise
    except Exception:  # whatever the client calls it when an access rule forbids the command
        return {}
    return found


def _config(redis: Redis, name: str) -> str | None:
    try:
        with translated():
            value = redis.config_get(name).get(name)
    except ServiceError:
        raise
    except Exception:  # forbidden, as at most providers
        return None
    return None if value is None else str(value)
