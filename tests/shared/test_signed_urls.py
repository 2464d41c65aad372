import re
import time

import pytest

from shared.connections import Redis
from shared.settings import Settings
from shared.signed_urls import SignedUrls


@pytest.fixture
def urls(redis: Redis, settings: Settings) -> SignedUrls:
    return SignedUrls(redis, settings)


@pytest.fixture
def soon() -> int:
    return int(time.time()) + 60


def test_a_token_opens_what_it_was_made_for_on_every_host(
    urls: SignedUrls, redis: Redis, settings: Settings, soon: int
) -> None:
    token = urls.sign("stream", "ada", "a1", soon)
    assert urls.check("stream", "ada", "a1", token)
    assert SignedUrls(redis, settings).check("stream", "ada", "a1", token)


@pytest.mark.parametrize(
    ("purpose", "account", "id"),
    [
        ("output", "ada", "a1"),
        ("stream", "bob", "a1"),
        ("stream", "ada", "a2"),
        ("stream", "adaa", "1"),
        ("strea", "mada", "a1"),
    ],
)
def test_a_token_opens_nothing_else(urls: SignedUrls, soon: int, purpose: str, account: str, id: str) -> None:
    assert not urls.check(purpose, account, id, urls.sign("stream", "ada", "a1", soon))


def test_a_token_ends_at_its_time_and_its_time_cannot_be_changed(urls: SignedUrls, soon: int) -> None:
    past = urls.sign("stream", "ada", "a1", int(time.time()) - 1)
    assert not urls.check("stream", "ada", "a1", past)
    assert not urls.check("stream", "ada", "a1", f"{soon}-{past.partition('-')[2]}")


@pytest.mark.parametrize("token", ["", "-", "1-", "x" * 54, "9999999999-" + "a" * 42, "9999999999-" + "ü" * 43, "é"])
def test_what_is_no_token_opens_nothing(urls: SignedUrls, token: str) -> None:
    assert not urls.check("stream", "ada", "a1", token)


def test_a_token_needs_no_escaping_anywhere(urls: SignedUrls, soon: int) -> None:
    for number in range(50):
        assert re.fullmatch(r"[0-9]+-[0-9A-Za-z]{43}", urls.sign("stream", "ada", str(number), soon))


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_secret(urls: SignedUrls, redis: Redis) -> None:
    keys = {urls.key("stream"), urls.key("output")}
    assert len(keys) == 2
    assert redis.get("headrace:url-secret") not in keys
