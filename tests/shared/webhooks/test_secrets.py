import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shared.connections import Redis
from shared.settings import Settings
from shared.webhooks.secrets import MAX_OLD, WebhookSecrets


def test_the_first_reading_makes_a_secret_and_however_many_read_it_is_one(redis: Redis, settings: Settings) -> None:
    with ThreadPoolExecutor(16) as readers:
        found = set(readers.map(lambda _: WebhookSecrets(redis, settings).get("ada").key, range(64)))
    assert len(found) == 1
    assert WebhookSecrets(redis, settings).get("bob").key not in found


def test_a_rotated_secret_signs_beside_its_follower_until_its_time_is_over(
    redis: Redis, settings: Settings, eventually: Callable[..., object]
) -> None:
    secrets = WebhookSecrets(redis, settings)
    first = secrets.get("ada").key
    rotated = secrets.rotate("ada")
    assert rotated.key != first and rotated.keys == [rotated.key, first]
    assert abs(rotated.old[0].expires_at - time.time() - settings.webhooks.rotation_seconds) < 60
    second = secrets.rotate("ada", 0.2)
    assert set(second.keys) == {second.key, rotated.key, first}
    eventually(lambda: rotated.key not in secrets.get("ada").keys)
    assert secrets.get("ada").keys == [second.key, first]


def test_a_secret_that_has_leaked_ends_at_once(redis: Redis, settings: Settings) -> None:
    secrets = WebhookSecrets(redis, settings)
    leaked = secrets.get("ada").key
    assert secrets.rotate("ada", 0).keys == [secrets.get("ada").key]
    assert secrets.get("ada").key != leaked


def test_rotating_again_and_again_keeps_few_old_ones(redis: Redis, settings: Settings) -> None:
    secrets = WebhookSecrets(redis, settings)
    made = [secrets.get("ada").key, *(secrets.rotate("ada", 1000 + n).key for n in range(8))]
    assert secrets.get("ada").keys == made[: -MAX_OLD - 2 : -1]
