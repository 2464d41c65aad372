import re
from collections.abc import Callable

import pytest

from shared.connections import Redis
from shared.jobs.lua import Scripts, sources
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.keyspace import Keyspace

TAG = Keyspace("headrace").tag()


def test_every_script_has_the_common_head_once() -> None:
    for name, text in sources().items():
        assert "--@lib" not in text, name
        assert text.count("local function finish(") == 1, name


def test_only_what_brings_more_is_refused_by_a_full_server() -> None:
    refused = {name for name, text in sources().items() if "allow-oom" not in text.splitlines()[0]}

    assert refused == {"submit", "admit", "post"}


def test_every_script_says_what_it_takes_and_answers() -> None:
    for name, text in sources().items():
        shebang, first, *_ = text.splitlines()
        assert shebang.startswith("#!lua"), name
        assert re.match(rf"-- {name}: now\b", first), name
        assert "->" in text.partition("local call")[0], name


def test_a_script_the_server_does_not_know_is_sent_to_it(redis: Redis) -> None:
    redis.script_flush()

    assert Scripts(redis).call("cancel", TAG, "unknown") == b""


def test_a_restarted_server_is_no_surprise(redis: Redis, queue: JobQueue, new_job: Callable[..., NewJob]) -> None:
    first = queue.submit(new_job())
    redis.script_flush()

    assert queue.submit(new_job()).is_new
    assert queue.cancel(first.id) == "starting"


def test_the_clock_is_the_servers_own_unless_told(redis: Redis) -> None:
    scripts = Scripts(redis)
    fields = ("kind", "prediction", "deadline_by", "default", "spill", "", "hook", "0")
    limits = (10**9, 10**12, 10**9, 10**12)
    for id_, now in (("told", 5_000), ("own", 0)):
        scripts.call(
            "submit", TAG, id_, "m1", "predict.cpu", "ann", "normal", 1, 1, 4, 10**9, 10**9, 10**9, "", "", *limits, "",
            "{}", *fields, now=now,
        )  # fmt: skip

    seconds, _ = redis.time()
    assert redis.hget(f"{TAG}:job:told", "created") == b"5000"
    assert abs(int(redis.hget(f"{TAG}:job:own", "created") or 0) / 1000 - seconds) < 60


@pytest.mark.parametrize("name", ["renew", "release", "settle"])
def test_an_unknown_claim_changes_nothing(redis: Redis, name: str) -> None:
    rest = {"renew": (1000,), "release": (5,), "settle": (0, 0, 0, "unknown", 1, "succeeded", "1", "", "")}

    answer = Scripts(redis).call(name, TAG, "unknown", *rest[name])

    assert answer == {"renew": [], "release": [0, b""], "settle": [b"lost"]}[name]
    assert redis.keys("*") == []
