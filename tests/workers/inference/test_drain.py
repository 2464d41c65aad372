import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import Unavailable
from shared.jobs.job import Job, JobKind, JobStatus, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper
from shared.models.registry import ModelRegistry
from shared.settings import FilesSettings, Settings
from workers.claims import Claims
from workers.inference.decoding import decode
from workers.inference.drain import Drain
from workers.inference.payloads import Payloads

POOL = "predict.cpu"
VERSION = "0" * 64


class Held:
    """The part of a model cache that a drain uses, with one model that is always ready."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def holds(self, version: str) -> bool:
        return bool(version == VERSION)

    def get(self, version: str) -> Any:
        return self.model


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "queue": settings.queue.model_copy(update={"lease_seconds": 0.6}),
            "jobs": settings.jobs.model_copy(update={"max_output_bytes": 1000, "inline_input_bytes": 500}),
        }
    )


@pytest.fixture
def drain_of(
    queue: JobQueue, redis: Redis, settings: Settings, artifacts: ArtifactStore
) -> Iterator[Callable[[Any], Drain]]:
    claims = Claims(queue, settings)

    def make(model: Any, store: Any = artifacts, of: Settings = settings, stopping: Any = None) -> Drain:
        registry = ModelRegistry(artifacts, redis, settings)
        payloads = Payloads(store, LargeOutputs(redis, of, store), of)
        return Drain(queue, claims, Held(model), registry, payloads, settings, stopping or threading.Event())  # type: ignore[arg-type]

    yield make
    claims.release_all()


@pytest.fixture
def submit(queue: JobQueue) -> Callable[..., str]:
    def one(body: str) -> str:
        new = NewJob(
            id=new_job_id(),
            kind=JobKind.PREDICTION,
            account="a",
            key_id="k",
            queue=queue_of(VERSION, POOL),
            pool=POOL,
            input=body.encode(),
        )
        return queue.submit(new).id

    return one


@pytest.fixture
def doubler(numpy_model: Any, signature_of: Any) -> Any:
    return numpy_model(signature_of(x=("tensor", "float32", ())), lambda x: x * 2)


def read(jobs: JobStore, job_id: str) -> Job:
    job = jobs.get(job_id)
    assert job is not None
    return job


def test_a_batch_is_answered_and_says_how_many_rows_its_call_had(
    drain_of: Any, submit: Any, jobs: JobStore, doubler: Any
) -> None:
    ids = [submit(f'{{"x": {value}}}') for value in range(5)]
    drain_of(doubler).run(POOL, ids[0])
    assert [read(jobs, job_id).output for job_id in ids] == [0, 2, 4, 6, 8]
    assert read(jobs, ids[0]).metrics["batch_rows"] == 5


def test_a_large_job_counts_its_calls_by_themselves(
    drain_of: Any, submit: Any, jobs: JobStore, doubler: Any, redis: Redis
) -> None:
    job_id = submit(f'{{"x": {[1] * 100}}}')
    drain_of(doubler).run(POOL, job_id)
    assert read(jobs, job_id).metrics["batch_rows"] == 64
    totals = redis.hgetall("headrace:{a}:totals")
    assert (totals[b"batches"], totals[b"batch_rows"]) == (b"2", b"100")


def test_what_cannot_be_settled_is_handed_back_with_what_was_taken_ahead(
    drain_of: Any, submit: Any, jobs: JobStore, queue: JobQueue, doubler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [submit(f'{{"x": {[value] * 40}}}') for value in range(2)]
    drain = drain_of(doubler)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="planted"):

        def broken(*_: Any, **__: Any) -> Any:
            raise ValueError("planted")

        patch.setattr(queue, "settle", broken)
        drain.run(POOL, ids[0])
    assert [read(jobs, job_id).status for job_id in ids] == [JobStatus.STARTING] * 2
    drain.run(POOL, "")
    assert [read(jobs, job_id).output for job_id in ids] == [[0.0] * 40, [2.0] * 40]


def test_an_answer_that_is_too_large_or_no_json_fails_its_job_alone(
    drain_of: Any, submit: Any, jobs: JobStore, numpy_model: Any, signature_of: Any
) -> None:
    model = numpy_model(signature_of(x=("tensor", "float32", (None,)), output=(None,)), lambda x: x * 2)
    ids = [submit('{"x": [1, 2]}'), submit(f'{{"x": {[1] * 400}}}')]
    drain_of(model).run(POOL, ids[0])
    assert read(jobs, ids[0]).output == [2.0, 4.0]
    assert read(jobs, ids[1]).error_code == "E1103"

    strange = numpy_model(signature_of(x=("tensor", "float32", ())), lambda x: x.astype(np.complex64))
    job_id = submit('{"x": 1}')
    drain_of(strange).run(POOL, job_id)
    assert read(jobs, job_id).error_code == "E1103"


def test_an_input_is_read_again_when_the_store_was_away_for_a_moment(
    drain_of: Any, submit: Any, jobs: JobStore, doubler: Any, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.payloads.STORE_PAUSES", (0.01, 0.01, 0.01))
    failures = [Unavailable("away")] * 3

    class Store:
        def read(self, path: str) -> bytes:
            if failures:
                raise failures.pop()
            return artifacts.read(path)

    job_id = submit(f'{{"x": {[1.5] * 200}}}')
    drain_of(doubler, Store()).run(POOL, job_id)
    assert read(jobs, job_id).output == [3.0] * 200


@pytest.mark.parametrize("broken", ["read", "write"])
def test_a_store_that_is_away_for_longer_ends_no_job_and_holds_no_neighbour_back(
    broken: str,
    drain_of: Any,
    submit: Any,
    jobs: JobStore,
    doubler: Any,
    redis: Redis,
    artifacts: ArtifactStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.inference.payloads.STORE_PAUSES", (0.01, 0.01))
    seen: list[list[str]] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:  # while the worker waits for the store
            seen.append([str(redis.hget(f"headrace:{{a}}:job:{id_}", "status"), "ascii") for id_ in ids])
            if len(seen) > settings.jobs.max_releases:
                monkeypatch.undo()
            return False

    def away(*_: object) -> None:
        raise Unavailable("away")

    rows = 200 if broken == "read" else 40  # 500 bytes of input stay in Redis, and 100 of output
    of = settings.model_copy(update={"files": FilesSettings(inline_output_bytes=100)})
    ids = [submit('{"x": 1}'), submit(f'{{"x": {[1.5] * rows}}}'), submit('{"x": 2}')]
    monkeypatch.setattr(type(artifacts), broken, away)
    drain_of(doubler, of=of, stopping=Stopping()).run(POOL, ids[0])
    assert len(seen) > settings.jobs.max_releases
    # It may be taken ahead again at once; it is computed again after the pause.
    assert all(now in (["succeeded", way, "succeeded"] for way in ("starting", "processing")) for now in seen)
    job = read(jobs, ids[1])
    assert job.status == JobStatus.SUCCEEDED and job.output_file is not None
    assert orjson.loads(artifacts.read(job.output_file.path)) == [3.0] * rows
    assert redis.hmget(f"headrace:{{a}}:job:{ids[1]}", "releases", "suspect") == [b"0", b"0"]


def test_a_canceled_job_is_decoded_no_further(
    classifier_signature: Any, settings: Settings, data_url: Callable[..., str], numpy_model: Any
) -> None:
    from workers.inference.batch import DROPPED, run_batch

    late = time.monotonic() - 1
    image = data_url(np.zeros((32, 32, 3), np.uint8))
    job = decode(classifier_signature, {"image": [image] * 200}, settings, late)
    assert all(callable(row) for row in job.rows)
    asked = []

    def keep() -> set[int]:
        asked.append(1)
        return {0} if len(asked) < 10 else set()

    model = numpy_model(classifier_signature, lambda image: np.full((len(image), 10), 0.1, np.float32))
    assert run_batch(model, [job], settings.batching, keep) == [DROPPED]
    assert len(asked) == 10
    assert model.calls == []


def test_an_output_too_large_for_a_reply_becomes_a_file_that_goes_with_its_job(
    drain_of: Any,
    submit: Any,
    jobs: JobStore,
    queue: JobQueue,
    doubler: Any,
    redis: Redis,
    artifacts: ArtifactStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = settings.model_copy(update={"files": FilesSettings(inline_output_bytes=100)})
    drain = drain_of(doubler, of=small)
    job_id, other = submit(f'{{"x": {[1] * 60}}}'), submit('{"x": 1}')
    drain.run(POOL, job_id)
    job = read(jobs, job_id)
    assert (job.status, job.output) == (JobStatus.SUCCEEDED, None) and read(jobs, other).output == 2
    assert job.output_file is not None and artifacts.read(job.output_file.path) == b"[" + b"2.0," * 59 + b"2.0]"
    assert job.output_file.size == 240 + 1
    due = redis.zscore("headrace:{a}:spilled", job.output_file.path)
    assert due == pytest.approx((time.time() + settings.jobs.retain_seconds) * 1000, abs=5000)
    assert queue.delete(job_id)
    assert Sweeper(redis, settings, artifacts).run_once()
    assert artifacts.names("outputs") == []
