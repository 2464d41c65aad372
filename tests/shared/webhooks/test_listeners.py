import pytest

from shared.connections import Redis
from shared.errors import InvalidInput
from shared.settings import Settings
from shared.webhooks.listeners import LIFE_SECONDS, Listeners

KEY = "headrace:listeners"


def test_an_address_may_be_called_while_it_is_registered(redis: Redis, settings: Settings) -> None:
    listeners = Listeners(redis, settings)
    assert listeners.add("127.0.0.1:8099") == "127.0.0.1:8099" and listeners.add("[::1]:80") == "[::1]:80"
    assert listeners.living() == {"127.0.0.1:8099", "[::1]:80"}
    listeners.remove("127.0.0.1:8099")
    assert listeners.living() == {"[::1]:80"}


def test_a_registration_ends_by_itself_unless_it_is_renewed(redis: Redis, settings: Settings) -> None:
    listeners = Listeners(redis, settings)
    listeners.add("127.0.0.1:1")
    listeners.add("127.0.0.1:2")
    for address in ("127.0.0.1:1", "127.0.0.1:2"):
        redis.zincrby(KEY, -1000 * LIFE_SECONDS - 1, address)
    assert listeners.living() == set()
    listeners.add("127.0.0.1:2")
    assert listeners.living() == {"127.0.0.1:2"}
    assert redis.zcard(KEY) == 1


@pytest.mark.parametrize(
    "address",
    ["8099", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "10.0.0.1:80", "localhost:80", "::1:80", "[::2]:80",
     "0.0.0.0:80", "127.0.0.1:80/x", "2130706433:80", "[127.0.0.1]:80", "127.1:80", "127.0.0.1:８０",
     "[::ffff:10.0.0.1]:80"],
)  # fmt: skip
def test_only_a_loopback_address_with_its_port_can_be_registered(
    redis: Redis, settings: Settings, address: str
) -> None:
    with pytest.raises(InvalidInput, match="loopback"):
        Listeners(redis, settings).add(address)
    assert redis.exists(KEY) == 0


def test_there_is_a_limit_to_how_many_may_be_registered(redis: Redis, settings: Settings) -> None:
    listeners = Listeners(redis, settings)
    for port in range(1, 101):
        listeners.add(f"127.0.0.1:{port}")
    with pytest.raises(InvalidInput, match="100 listeners"):
        listeners.add("127.0.0.1:101")
    listeners.add("127.0.0.1:7")
