import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import Unavailable
from shared.jobs.claim import TakenJob
from shared.jobs.events import History
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.registry import ModelRegistry
from shared.settings import BatchingSettings, Settings
from tests.workers.inference.test_drain import POOL, VERSION, Held
from workers.claims import Claims
from workers.inference.batch import run_batch
from workers.inference.decoding import DecodedJob
from workers.inference.drain import Drain
from workers.inference.partial import MAX_BYTES, PartialOutputs
from workers.inference.payloads import Payloads

BATCHING = BatchingSettings(max_batch_rows=8, allowed_batch_sizes=(1, 2, 4, 8))


@pytest.fixture
def submit(queue: JobQueue) -> Callable[[int], str]:
    def make(rows: int) -> str:
        body = orjson.dumps({"x": list(range(rows))})
        new = NewJob(
            id=new_job_id(), kind=JobKind.PREDICTION, account="a", key_id="k", queue=queue_of(VERSION, POOL), pool=POOL,
            input=body, rows=rows,
        )  # fmt: skip
        return queue.submit(new).id

    return make


@pytest.fixture
def drain_of(
    queue: JobQueue, redis: Redis, settings: Settings, artifacts: ArtifactStore, numpy_model: Any, signature_of: Any
) -> Iterator[Callable[..., Drain]]:
    """A worker's loop over a model that doubles."""
    claims = Claims(queue, settings)
    payloads = Payloads(artifacts, LargeOutputs(redis, settings, artifacts), settings)
    registry = ModelRegistry(artifacts, redis, settings)

    def make(of: Settings = settings, iterates: bool = False) -> Drain:
        signature = replace(signature_of(x=("tensor", "float32", ())), iterates=iterates)
        held: Any = Held(numpy_model(signature, lambda x: x * 2))
        return Drain(queue, claims, held, registry, payloads, of, threading.Event())

    yield make
    claims.release_all()


@pytest.fixture
def drain(drain_of: Callable[..., Drain]) -> Drain:
    return drain_of()


def taken(queue: JobQueue, rows: int) -> tuple[str, TakenJob]:
    found = queue.take(
        queue_of(VERSION, POOL), POOL, max_rows=rows, max_bytes=1 << 25, hard_seconds=60, solo=True, token=""
    )
    return found.claim, found.jobs[0]


def parts(redis: Redis, settings: Settings, job_id: str) -> list[tuple[int, list[float]]]:
    events = History(redis, settings, job_id).read().events
    found = [orjson.loads(event.data) for event in events if event.name == "output"]
    return [(part["first"], part["items"]) for part in found]


def test_a_followed_job_of_many_calls_says_its_rows_after_each_call_but_the_last(
    drain: Drain, submit: Callable[[int], str], queue: JobQueue, jobs: JobStore, redis: Redis, settings: Settings
) -> None:
    job_id = submit(150)
    queue.follow(job_id)
    drain.run(POOL, job_id)

    answers = [2.0 * n for n in range(150)]
    assert parts(redis, settings, job_id) == [(0, answers[:64]), (64, answers[64:128])]
    job = jobs.get(job_id)
    assert job is not None and job.output == answers


def test_a_job_that_nobody_follows_leaves_no_stream(
    drain: Drain, submit: Callable[[int], str], jobs: JobStore, redis: Redis
) -> None:
    job_id = submit(150)
    drain.run(POOL, job_id)

    job = jobs.get(job_id)
    assert job is not None and len(job.output) == 150
    assert not redis.exists(f"headrace:{{a}}:events:{job_id}")


@pytest.mark.parametrize(("iterates", "told"), [(True, [0.0, 2.0, 4.0, 6.0, 8.0]), (False, [])])
def test_every_call_of_a_version_that_iterates_is_told_also_where_a_job_has_fewer_rows_than_a_batch(
    iterates: bool,
    told: list[Any],
    drain_of: Callable[..., Drain],
    submit: Callable[[int], str],
    queue: JobQueue,
    redis: Redis,
    settings: Settings,
) -> None:
    job_id = submit(6)
    queue.follow(job_id)
    two_rows = settings.batching.model_copy(update={"max_decoded_bytes": 8})
    drain_of(settings.model_copy(update={"batching": two_rows}), iterates).run(POOL, job_id)

    assert [answer for _, answers in parts(redis, settings, job_id) for answer in answers] == told


def test_one_row_of_a_version_that_iterates_is_answered_with_a_list(
    drain_of: Callable[..., Drain], queue: JobQueue, jobs: JobStore
) -> None:
    new = NewJob(
        id=new_job_id(), kind=JobKind.PREDICTION, account="a", key_id="k", queue=queue_of(VERSION, POOL), pool=POOL,
        input=b'{"x": 3}',
    )  # fmt: skip
    queue.submit(new)
    drain_of(iterates=True).run(POOL, new.id)

    job = jobs.get(new.id)
    assert job is not None and job.output == [6.0]


def test_who_follows_while_it_runs_has_the_rows_before_too(
    queue: JobQueue, submit: Callable[[int], str], redis: Redis, settings: Settings
) -> None:
    job_id = submit(9)
    claim, job = taken(queue, 9)
    partial = PartialOutputs(queue, claim, [job], 2)
    partial.grown(0, [1, 2])
    queue.follow(job_id)
    partial.grown(0, [1, 2, 3, 4])
    partial.grown(0, [1, 2, 3, 4, 5])

    assert parts(redis, settings, job_id) == [(0, [1, 2, 3, 4]), (4, [5])]


def test_a_part_that_could_not_be_sent_comes_with_the_next(
    queue: JobQueue, submit: Callable[[int], str], redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(9)
    queue.follow(job_id)
    claim, job = taken(queue, 9)
    partial = PartialOutputs(queue, claim, [job], 2)
    partial.grown(0, [1])
    with monkeypatch.context() as patch:

        def away(*_: Any) -> int:
            raise Unavailable("Redis does not answer.")

        patch.setattr(queue, "emit", away)
        partial.grown(0, [1, 2])
    partial.grown(0, [1, 2, 3])

    assert parts(redis, settings, job_id) == [(0, [1]), (1, [2, 3])]


def test_what_is_kept_of_partial_output_is_bounded(
    queue: JobQueue, submit: Callable[[int], str], redis: Redis, settings: Settings
) -> None:
    job_id = submit(9)
    queue.follow(job_id)
    claim, job = taken(queue, 9)
    partial = PartialOutputs(queue, claim, [job], 2)
    partial.grown(0, ["small"])
    partial.grown(0, ["small", "x" * MAX_BYTES])
    partial.grown(0, ["small", "x" * MAX_BYTES, "small"])

    assert parts(redis, settings, job_id) == [(0, ["small"])]


def test_rows_are_told_in_order_without_a_gap(numpy_model: Any, signature_of: Any) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None,))), lambda x: x.sum(axis=1))
    # Rows of two lengths: the longer ones wait for a call of their own.
    rows = [{"x": np.ones(3 if index in (2, 3) else 2, "float32")} for index in range(12)]
    told: list[int] = []
    answers = run_batch(model, [DecodedJob(rows, True)], BATCHING, grown=lambda _, first: told.append(len(first)))

    assert answers == [[3.0 if index in (2, 3) else 2.0 for index in range(12)]]
    assert told == sorted(told)
    assert told[0] == 2
    assert told[-1] == 12
