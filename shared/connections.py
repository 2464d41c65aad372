"""Opens Redis from the settings, and turns its failures into our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.errors import TooManyRequests, Unavailable
from shared.keyspace import Keyspace
from shared.settings import Settings

Redis = redis.Redis


def open_redis(settings: Settings) -> redis.Redis:
    """A client of the one server, with replies as bytes; it connects at the first command and again after a loss.

    A command that met a broken connection is tried once more: every script of ours may be called twice.
    """
    options: dict[str, Any] = {
        "socket_timeout": settings.redis.socket_timeout_seconds,
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [RedisConnectionError],
        "client_name": "headrace",
        "protocol": 2,
        "max_connections": 4096,  # one for each thread that speaks at once; the client's own limit is 100
        "driver_info": None,
    }
    if not settings.redis.url.startswith("unix:"):
        options["socket_connect_timeout"] = settings.redis.connect_timeout_seconds
        options["socket_keepalive"] = True
    if settings.redis.ca_file is not None:
        options["ssl_ca_certs"] = str(settings.redis.ca_file)
    client: redis.Redis = redis.Redis.from_url(settings.redis.url, **options)
    return client


def open_keyspace(settings: Settings) -> Keyspace:
    """The key names under the settings' prefix."""
    return Keyspace(settings.redis.prefix)


@contextmanager
def translated() -> Iterator[None]:
    """Turns Redis' failures into ``Unavailable``, and a full memory into ``TooManyRequests``."""
    try:
        yield
    except OutOfMemoryError as error:
        raise TooManyRequests("The job store is full; try again later.", 5) from error
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise Unavailable("Redis does not answer; try again in a moment.") from error
    except (ReadOnlyError, ClusterDownError, TryAgainError) as error:
        raise Unavailable("Redis fails over; try again in a moment.") from error
    except ResponseError as error:
        # A pipeline puts words of its own before the server's.
        text = str(error)[:300]
        if any(code in text for code in ("LOADING", "MISCONF", "NOREPLICAS", "BUSY ")):
            raise Unavailable("Redis is not ready; try again in a moment.") from error
        if text.startswith("NEWER "):
            raise Unavailable(
                "A later release of the service made this job; ask again, its processes answer."
            ) from error
        if "OOM " in text:
            raise TooManyRequests("The job store is full; try again later.", 5) from error
        raise


def broker_url(settings: Settings) -> str:
    """The same server as Celery names it."""
    url = settings.redis.url
    if url.startswith("unix://"):
        path, _, query = url.removeprefix("unix://").partition("?")
        credentials, at, path = path.rpartition("@")
        suffix = f"?{query.replace('db=', 'virtual_host=')}" if query else ""
        return f"redis+socket://{credentials}{at}{path}{suffix}"
    if url.startswith("rediss://") and settings.redis.ca_file is not None:
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}ssl_cert_reqs=required&ssl_ca_certs={quote(str(settings.redis.ca_file))}"
    return url
