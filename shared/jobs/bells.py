"""Sends the Celery messages that wake workers; they carry pool, shard and token, never a job.

Correctness does not depend on a message: one that is lost is found missing by a sweep, one too many is stale by its
token. Tasks are named here and registered in ``workers/tasks``, so that nobody imports workers to wake them.
"""

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from shared.connections import Redis, broker_url, open_keyspace, translated
from shared.errors import Unavailable
from shared.heartbeats import own_queue
from shared.roles import Role
from shared.settings import Settings

LOAD_TASK = "load_version"
SWEEP_TASK = "sweep"


def pool_of(kind: str, pool: str) -> str:
    """The Celery queue of a kind's work: ``predict.cpu`` for predictions in the pool ``cpu``."""
    role = {"prediction": Role.PREDICT, "training": Role.TRAIN}.get(kind, Role.PREPARE)
    return role.queue(pool)


def celery_config(settings: Settings) -> dict[str, Any]:
    """The Celery settings that senders and workers share."""
    options: dict[str, Any] = {
        "global_keyprefix": f"{settings.redis.prefix}:celery:",
        "socket_timeout": settings.redis.socket_timeout_seconds,
        "health_check_interval": 25,
        "max_retries": 1,
        "interval_start": 0,
        "interval_max": 0.1,
    }
    if not settings.redis.url.startswith("unix:"):
        options |= {
            "socket_connect_timeout": settings.redis.connect_timeout_seconds,
            "socket_keepalive": True,
        }
    return {
        "broker_url": broker_url(settings),
        "broker_transport_options": options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_create_missing_queues": True,
        "result_backend": None,
    }


class Bells:
    """Rings for pools and single workers.

    Args:
        redis: The server, to look at Celery's queues.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._prefix = f"{open_keyspace(settings).prefix}:celery:"
        self._app = Celery("headrace-bells", set_as_current=False)
        self._app.conf.update(celery_config(settings))

    def ring(self, pool: str, shard: str, token: str) -> None:
        """Sends the message that says "this pool has work"; a failure is left to the sweep."""
        role = Role.of_queue(pool)
        if role is None:
            raise ValueError(f"no worker drains {pool!r}")
        try:
            self._app.send_task(
                role.value,
                kwargs={"pool": pool, "shard": shard, "token": token},
                queue=pool,
                retry=False,
                ignore_result=True,
            )
        except (OperationalError, OSError):
            return

    def ask_to_load(self, worker: str, version: str) -> None:
        """Asks one worker to load a version; the message is dropped unless it is read within a minute.

        Raises:
            Unavailable: Redis does not answer.
        """
        try:
            self._app.send_task(
                LOAD_TASK,
                kwargs={"version": version},
                queue=own_queue(worker),
                retry=False,
                ignore_result=True,
                expires=60,
            )
        except (OperationalError, OSError) as error:
            raise Unavailable("Redis does not answer; try again in a moment.") from error

    def is_silent(self, pool: str) -> bool:
        """Whether no message waits in a pool's Celery queue."""
        with translated():
            return self._redis.llen(self._prefix + pool) == 0
