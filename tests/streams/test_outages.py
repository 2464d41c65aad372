import os
import signal
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.promises.conftest import HOLD, MODEL, PLAIN, Stack
from tests.streams.reader import Reader

pytestmark = pytest.mark.long


def rows(count: int, held: int) -> list[list[int]]:
    """Rows of which one holds the worker until it is let go."""
    return [[n, HOLD if n == held else PLAIN] for n in range(count)]


def followed(stack: Stack, x: list[list[int]]) -> dict[str, Any]:
    """A job that keeps its events from the start, so that no batch ends before anybody listens."""
    reply = stack.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": x}, "stream": True})
    assert reply.status_code == 201, reply.text
    job: dict[str, Any] = reply.json()
    return job


def test_rows_arrive_as_their_batches_end(stack: Stack) -> None:
    stack.start_worker()
    job = followed(stack, rows(150, held=100))
    contract, ours = Reader(job["urls"]["stream"]), Reader(f"{stack.url}/v1/predictions/{job['id']}/events", stack.key)
    stack.signaled("holding-100")
    for reader in (contract, ours):
        reader.wait(lambda reader=reader: sum(name == "output" for name, _ in reader.said) == 64)  # type: ignore[misc]
    shown = stack.get(job["id"])
    assert (shown["status"], len(shown["output"])) == ("processing", 64)
    stack.let_go()
    answers = [("output", f"[{2 * n}]") for n in range(150)]
    for reader in (contract, ours):
        reader.end()
        assert [said for said in reader.said if said[0] == "output"] == answers
    assert contract.said[-1] == ("done", "{}")
    assert ours.said[-1] == ("done", '{"status":"succeeded"}')


def test_a_worker_that_dies_between_two_batches_makes_no_row_come_twice(stack: Stack) -> None:
    worker = stack.start_worker()
    job = followed(stack, rows(150, held=100))
    reader = Reader(f"{stack.url}/v1/predictions/{job['id']}/events", stack.key)
    stack.signaled("holding-100")
    reader.wait(lambda: sum(name == "output" for name, _ in reader.said) == 64)
    stack.kill(worker)
    stack.let_go()
    stack.start_worker()
    reader.end(60)

    assert [data for name, data in reader.said if name == "output"] == [f"[{2 * n}]" for n in range(150)]
    assert [data for name, data in reader.said if name == "status"][-3:] == ["starting", "processing", "succeeded"]


def test_a_reader_goes_on_where_it_was_when_the_api_is_killed_and_comes_back(stack: Stack) -> None:
    stack.start_worker()
    job = followed(stack, rows(150, held=100))
    path = urlsplit(job["urls"]["stream"]).path
    before = Reader(stack.url + path)
    before.wait(lambda: len(before.events) == 64)
    api = next(process for process in stack.processes if "granian" in str(process.args))
    os.killpg(api.pid, signal.SIGKILL)
    api.wait()
    before.end()
    assert before.said[-1][0] == "output"
    stack.start_api(urlsplit(stack.url).port or 0)
    after = Reader(stack.url + path, after=before.events[-1].id)
    stack.let_go()
    after.end()

    answers = [("output", f"[{2 * n}]") for n in range(150)]
    assert before.said + after.said == [*answers, ("done", "{}")]


def test_streams_live_through_an_outage_of_redis(stack: Stack) -> None:
    stack.start_worker()
    job = stack.post([[1, HOLD]])
    readers = [Reader(f"{stack.url}/v1/jobs/{job['id']}/events", stack.key) for _ in range(3)]
    stack.signaled("holding-1")
    for reader in readers:
        reader.wait(lambda reader=reader: ("status", "processing") in reader.said)  # type: ignore[misc]
    stack.server.kill()
    for reader in readers:
        seen = reader.heartbeats
        reader.wait(lambda reader=reader, seen=seen: reader.heartbeats > seen + 1)  # type: ignore[misc]
    stack.server.start()
    stack.let_go()
    for reader in readers:
        reader.end(60)
        assert reader.said[-1] == ("done", '{"status":"succeeded"}')
        assert [data for name, data in reader.said if name == "output"] == ["[2]"]


def test_a_stopping_api_cuts_its_streams_without_a_done(stack: Stack) -> None:
    job = stack.post([[1, PLAIN]])
    reader = Reader(f"{stack.url}/v1/jobs/{job['id']}/events", stack.key)
    reader.wait(lambda: reader.events)
    api = next(process for process in stack.processes if "granian" in str(process.args))
    api.terminate()
    reader.end(5)
    assert api.wait(10) == 0
    assert reader.said == [("status", "starting")]
