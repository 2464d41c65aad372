from datetime import datetime
from typing import Any

import pytest

from shared.connections import Redis
from shared.jobs.outgoing import Outgoing
from shared.settings import Settings
from shared.webhooks.signing import message_id
from tests.receivers import answer

MINUTE, HOUR = 60.0, 3600.0
SCHEDULE = (
    0.0, 5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
)  # fmt: skip
"""At once and then these pauses, as Standard Webhooks has them: 75 hours in all."""


def pause_of(entry: dict[str, Any]) -> float:
    """Seconds from the end of an attempt to the next, as the delivery log tells them."""
    begun, following = (datetime.fromisoformat(entry[name]).timestamp() for name in ("at", "next_attempt_at"))
    return following - begun - float(entry["seconds"])


def test_the_schedule_is_that_of_standard_webhooks_and_its_pauses_differ_by_a_tenth(settings: Settings) -> None:
    assert settings.webhooks.schedule_seconds == SCHEDULE
    assert 75 * HOUR <= sum(SCHEDULE) < 76 * HOUR
    assert settings.webhooks.jitter == 0.1
    assert (settings.webhooks.timeout_seconds, settings.webhooks.reply_bytes) == (20.0, 65_536)


def test_ten_attempts_follow_the_schedule_and_the_last_one_makes_a_dead_letter(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    redis: Redis, eventually: Any,
) -> None:  # fmt: skip
    receiver = receive(answer(500))
    job = submit(receiver.url)
    finish()
    start_dispatcher(with_webhooks(schedule_seconds=SCHEDULE, circuit_failures=100))
    for made in range(1, len(SCHEDULE)):
        eventually(lambda made=made: len(outgoing.log(job)) == made)
        pause = pause_of(outgoing.log(job)[-1])
        assert pause == pytest.approx(SCHEDULE[made], rel=0.1, abs=0.01), made
        # Its time has come.
        for key, member in ((f"outgoing:{receiver.address}", f"{job}|completed"), ("outgoing-hosts", receiver.address)):
            redis.zadd(f"headrace:{{a}}:{key}", {member: 1}, xx=True)
        redis.publish(outgoing.channel, receiver.address)
    eventually(lambda: outgoing.dead_letters("ada"))
    assert [entry["attempt"] for entry in outgoing.log(job)] == list(range(1, 11))
    assert outgoing.log(job)[-1]["next_attempt_at"] is None
    assert receiver.ids() == [message_id(job, "completed")] * 10


def test_what_failed_together_does_not_return_together(
    receive: Any, submit: Any, finish: Any, start_dispatcher: Any, with_webhooks: Any, outgoing: Outgoing,
    redis: Redis, eventually: Any,
) -> None:  # fmt: skip
    receiver = receive(answer(500))
    jobs = [submit(receiver.url) for _ in range(40)]
    finish()
    start_dispatcher(with_webhooks(schedule_seconds=(0.0, 1000.0), circuit_failures=100))
    eventually(lambda: all(outgoing.log(job) for job in jobs))
    pauses = [pause_of(outgoing.log(job)[0]) for job in jobs]
    # Forty even draws from 900 to 1100: that all lie in one half has a chance of one in a million million.
    assert 899.9 < min(pauses) < 1000 < max(pauses) < 1100.1
    assert max(pauses) - min(pauses) > 50 and len({round(pause) for pause in pauses}) > 10
    due = [at for _, at in redis.zrange(f"headrace:{{a}}:outgoing:{receiver.address}", 0, -1, withscores=True)]
    assert len(due) == 40 and max(due) - min(due) > 50_000
