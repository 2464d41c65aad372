from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.connections import broker_url, open_redis, translated
from shared.errors import TooManyRequests, Unavailable
from shared.jobs.lua import Scripts
from shared.settings import RedisSettings, Settings
from tests.conftest import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    yield made
    made.close()


def settings_of(server: RedisServer) -> Settings:
    return Settings(redis=RedisSettings(url=server.url, socket_timeout_seconds=1, connect_timeout_seconds=1))


def test_a_server_that_has_become_a_replica_is_unavailable(server: RedisServer) -> None:
    redis = open_redis(settings_of(server))
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable), translated():
        redis.set("key", "value")
    with pytest.raises(Unavailable):
        Scripts(redis).call("cancel", "headrace:{a}", "job")
    redis.close()


def test_a_server_that_lacks_its_replicas_is_unavailable(server: RedisServer) -> None:
    redis = open_redis(settings_of(server))
    redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(Unavailable), translated():
        redis.set("key", "value")
    with pytest.raises(Unavailable), translated(), redis.pipeline() as pipe:
        pipe.set("key", "value")
        pipe.execute()
    redis.close()


def test_a_full_server_is_too_many_requests(server: RedisServer) -> None:
    redis = open_redis(settings_of(server))
    redis.config_set("maxmemory", 1)
    with pytest.raises(TooManyRequests), translated():
        redis.set("key", "value")
    redis.close()


def test_a_server_that_is_gone_is_unavailable(server: RedisServer) -> None:
    redis = open_redis(settings_of(server))
    server.kill()
    with pytest.raises(Unavailable), translated():
        redis.ping()
    redis.close()


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://user:secret@host:6379/2", "redis://user:secret@host:6379/2"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("rediss://host/0", "rediss://host/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem"),
    ],
)
def test_celery_gets_the_same_server(url: str, broker: str) -> None:
    ca_file = Path("/ca.pem") if url.startswith("rediss") else None
    assert broker_url(Settings(redis=RedisSettings(url=url, ca_file=ca_file))) == broker
