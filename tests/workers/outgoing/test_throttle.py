import itertools
import time
from typing import Any

import orjson

from shared.connections import Redis
from shared.jobs.claim import Outcome
from shared.jobs.outgoing import Outgoing
from shared.jobs.queue import JobQueue
from shared.webhooks.signing import message_id
from tests.receivers import Receiver, answer

EVENTS = ("start", "output", "logs", "completed")
LATE = 0.12
"""How much later than another a message may be on its way on a busy machine."""


def due(redis: Redis, receiver: Receiver) -> dict[str, int]:
    """What waits for a receiver, and since or until when."""
    lane = redis.zrange(f"headrace:{{a}}:outgoing:{receiver.address}", 0, -1, withscores=True)
    return {entry.decode().partition("|")[2]: int(at) for entry, at in lane}


def now_of(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def test_progress_is_due_half_a_second_after_the_last_and_start_and_end_at_once(
    receive: Any, submit: Any, take: Any, queue: JobQueue, outgoing: Outgoing, redis: Redis
) -> None:
    receiver = receive(answer(200))
    job = submit(receiver.url, *EVENTS)
    claim, (taken,) = take()
    assert set(due(redis, receiver)) == {"start"} and due(redis, receiver)["start"] <= now_of(redis)
    assert queue.emit(claim, job, taken.attempt, 0, 1, b"[0]") == 1
    assert due(redis, receiver)["progress"] <= now_of(redis), "the first part waits for nothing"
    before = now_of(redis)
    assert {errand.what for errand in outgoing.lease(9, per_host=9).errands} == {"start", "progress"}
    after = now_of(redis)
    # Whatever comes from here on is one message, half a second after the last was sent.
    assert queue.emit(claim, job, taken.attempt, 1, 1, b"[1]") == 2
    first = due(redis, receiver)["progress"]
    assert before + 500 <= first <= after + 500
    assert queue.progress(claim, job, taken.attempt, facts="", log="a line\n", checkpoint=False)
    assert queue.emit(claim, job, taken.attempt, 2, 1, b"[2]") == 3
    assert due(redis, receiver)["progress"] == first
    assert not outgoing.lease(9, per_host=9).errands
    assert queue.settle(claim, [Outcome(job, taken.attempt, b"[0, 1, 2]")]) == ["ok"]
    ended = due(redis, receiver)
    assert "progress" not in ended and ended["completed"] <= now_of(redis) < first


def test_a_job_that_puts_out_and_logs_without_a_pause_is_told_of_twice_a_second(
    receive: Any, submit: Any, take: Any, start_dispatcher: Any, queue: JobQueue, eventually: Any
) -> None:
    receiver = receive(answer(200))
    start_dispatcher()
    job = submit(receiver.url, *EVENTS)
    claim, (taken,) = take()
    begun, parts = time.monotonic(), 0
    while time.monotonic() - begun < 2.2:
        assert queue.emit(claim, job, taken.attempt, parts, 1, orjson.dumps([parts])) == parts + 1
        assert queue.progress(claim, job, taken.attempt, facts="", log=f"line {parts}\n", checkpoint=False)
        parts += 1
        time.sleep(0.02)
    whole = list(range(parts))
    assert queue.settle(claim, [Outcome(job, taken.attempt, orjson.dumps(whole))]) == ["ok"]
    eventually(lambda: message_id(job, "completed") in receiver.ids())
    by_id = {request.id: request for request in receiver.requests}
    start, end = by_id.pop(message_id(job, "start")), by_id.pop(message_id(job, "completed"))
    told = sorted(by_id.values(), key=lambda request: request.at)
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(told)]
    assert 2 <= len(told) <= 5 and all(gap >= 0.5 - LATE for gap in gaps), gaps
    outputs = [request.json()["output"] for request in told]
    assert all(output == whole[: len(output)] for output in outputs)
    assert [len(output) for output in outputs] == sorted({len(output) for output in outputs}), "each says more"
    assert all(request.json()["status"] == "processing" and "line 0" in request.json()["logs"] for request in told[1:])
    assert start.json()["status"] == "processing" and end.json()["output"] == whole
    assert len(receiver.requests) == len(told) + 2
