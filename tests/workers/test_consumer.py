from typing import Any

import pytest
from kombu import Connection

from workers.celery import app
from workers.consumer import PromptConsumer


def test_workers_try_to_connect_every_few_seconds_however_long_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.conf.worker_consumer == "workers.consumer:PromptConsumer"
    options: dict[str, Any] = {}

    def ensure(connection: Connection, *_: Any, **given: Any) -> Connection:
        options.update(given)
        return connection

    monkeypatch.setattr(Connection, "ensure_connection", ensure)
    consumer = object.__new__(PromptConsumer)
    consumer.app, consumer.first_connection_attempt = app, True
    connection = app.connection_for_read("redis://127.0.0.1:9/0")
    assert consumer.ensure_connected(connection) is connection
    assert 0 < options["interval_start"] <= options["interval_max"] <= 3
    assert callable(options["callback"]), "a worker that shuts down meanwhile must hear of it"
