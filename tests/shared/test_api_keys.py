import time
from pathlib import Path

import pytest

from shared.api_keys import ApiKeys
from shared.connections import Redis
from shared.errors import InvalidInput, NotFound
from shared.settings import AuthSettings, Settings


@pytest.fixture
def keys(redis: Redis, settings: Settings) -> ApiKeys:
    return ApiKeys(redis, settings)


def test_a_key_is_found_by_its_text_and_says_for_whom_it_speaks(keys: ApiKeys) -> None:
    text, made = keys.create("ada", "laptop", ["read", "predictions:write"])
    assert text.startswith("hr_") and len(text) == 46
    found = keys.find(text)
    assert found is not None
    assert (found.id, found.account, found.name) == (made.id, "ada", "laptop")
    assert found.allows("read") and not found.allows("models:write")


def test_admin_allows_everything(keys: ApiKeys) -> None:
    found = keys.find(keys.create("ada", "root", ["admin"])[0])
    assert found is not None and found.allows("models:write")


def test_the_key_itself_is_nowhere_in_redis(keys: ApiKeys, redis: Redis) -> None:
    text, made = keys.create("ada", "laptop", ["read"])
    assert keys.find(text) is not None
    for name in redis.keys("*"):
        stored = redis.dump(name)
        assert text.encode() not in name + bytes(stored or b"")
        assert text[len(made.prefix) :].encode() not in name + bytes(stored or b"")


@pytest.mark.parametrize("text", ["", "hr_", "hr_" + "x" * 43, "hr_" + "x" * 44, "sk_" + "x" * 43, "hr_" + "ü" * 43])
def test_another_text_finds_nothing(keys: ApiKeys, text: str) -> None:
    keys.create("ada", "laptop", ["read"])
    assert keys.find(text) is None


def test_a_key_ends_at_its_time_also_where_it_is_remembered(keys: ApiKeys) -> None:
    text, _ = keys.create("ada", "laptop", ["read"], expires_at=time.time() + 0.3)
    assert keys.find(text) is not None
    until = time.monotonic() + 5
    while keys.find(text) is not None:
        assert time.monotonic() < until


def test_a_revoked_key_is_refused_at_once_here_and_elsewhere_after_the_time_of_trust(
    keys: ApiKeys, redis: Redis, settings: Settings
) -> None:
    elsewhere = ApiKeys(redis, settings.model_copy(update={"auth": AuthSettings(cache_seconds=0.2)}))
    text, made = keys.create("ada", "laptop", ["read"])
    assert keys.find(text) is not None and elsewhere.find(text) is not None
    assert keys.revoke(made.id).id == made.id
    assert keys.find(text) is None
    begun = time.monotonic()
    while elsewhere.find(text) is not None:
        assert time.monotonic() - begun < 1
    assert keys.list() == []


def test_a_key_is_revoked_by_prefix_and_an_unknown_name_is_said(keys: ApiKeys) -> None:
    _, made = keys.create("ada", "laptop", ["read"])
    with pytest.raises(NotFound):
        keys.revoke("hr_unknown")
    assert keys.revoke(made.prefix).id == made.id


def test_the_list_has_every_key_oldest_first(keys: ApiKeys) -> None:
    made = [keys.create(account, "k", ["read"])[1].id for account in ("ada", "bob", "ada")]
    assert [key.id for key in keys.list()] == made


def test_the_last_use_is_written_but_not_at_every_use(keys: ApiKeys, redis: Redis) -> None:
    text, made = keys.create("ada", "laptop", ["read"])
    assert keys.list()[0].last_used_at is None
    keys.find(text)
    first = keys.list()[0].last_used_at
    assert first == pytest.approx(time.time(), abs=5)
    keys.forget()
    keys.find(text)
    assert keys.list()[0].last_used_at == first
    assert made.last_used_at is None


def test_names_and_scopes_that_cannot_be_are_refused(keys: ApiKeys, tmp_path: Path) -> None:
    for account, scopes in (("Ada Lovelace", ["read"]), ("ada", ["everything"]), ("ada", [])):
        with pytest.raises(InvalidInput):
            keys.create(account, "laptop", scopes)
    with pytest.raises(InvalidInput):
        keys.create("ada", "laptop", ["read"], expires_at=time.time() - 1)
    assert keys.list() == []
