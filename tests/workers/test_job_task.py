import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from shared.connections import Redis
from shared.errors import JobCanceled, JobReleased, TooManyRequests, TrainingError, Unavailable
from shared.jobs.job import Job, JobKind, JobStatus, new_job_id
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.sweeps import Sweeper
from shared.settings import Settings
from workers.job_task import JobTask
from workers.process import Process, open_process
from workers.run import Run

POOL = "train.cpu"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"queue": settings.queue.model_copy(update={"lease_seconds": 0.6})})


@pytest.fixture
def process(redis: Redis, settings: Settings) -> Iterator[Process]:
    opened = open_process(settings)
    opened.stopping = threading.Event()
    yield opened
    opened.claims.release_all()


@pytest.fixture
def drain(process: Process) -> Callable[[Callable[[Run], Mapping[str, Any]]], None]:
    def run(engine: Callable[[Run], Mapping[str, Any]]) -> None:
        JobTask().drain(process, POOL, "", {JobKind.TRAINING: engine})

    return run


@pytest.fixture
def job_id(queue: JobQueue) -> str:
    new = NewJob(
        id=new_job_id(), kind=JobKind.TRAINING, account="a", key_id="k", queue="training", pool=POOL, input=b'{"n":1}'
    )
    return queue.submit(new).id


def stored(jobs: JobStore, job_id: str) -> Job:
    job = jobs.get(job_id)
    assert job is not None
    return job


def test_what_an_engine_returns_becomes_the_output(drain: Any, job_id: str, jobs: JobStore) -> None:
    def engine(run: Run) -> Mapping[str, Any]:
        run.log("half way")
        run.report(epoch=1)
        run.check()
        return {"seen": run.job.input}

    drain(engine)
    job = stored(jobs, job_id)
    assert (job.status, job.output, job.logs) == (JobStatus.SUCCEEDED, {"seen": {"n": 1}}, "half way\n")
    assert job.progress == {"epoch": 1}
    assert job.metrics["predict_time"] >= 0


def test_an_error_of_the_job_is_stored_with_its_code(drain: Any, job_id: str, jobs: JobStore) -> None:
    def engine(run: Run) -> Mapping[str, Any]:
        raise TrainingError("the loss is not a number")

    drain(engine)
    job = stored(jobs, job_id)
    assert (job.status, job.error, job.error_code) == (JobStatus.FAILED, "E1701: the loss is not a number", "E1701")


@pytest.mark.parametrize("problem", [ValueError("secret detail"), MemoryError()])
def test_an_unexpected_error_fails_the_job_and_shows_no_details(
    drain: Any, job_id: str, jobs: JobStore, problem: Exception
) -> None:
    def engine(run: Run) -> Mapping[str, Any]:
        raise problem

    drain(engine)
    job = stored(jobs, job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None and job.error.startswith("E1000: ") and "secret" not in job.error


def test_a_cancel_is_seen_by_the_engine_and_stands(
    drain: Any, job_id: str, jobs: JobStore, queue: JobQueue, eventually: Any
) -> None:
    def engine(run: Run) -> Mapping[str, Any]:
        queue.cancel(job_id)

        def sees() -> bool:
            try:
                run.check()
            except JobCanceled:
                return True
            return False

        eventually(sees, 5)
        raise JobCanceled

    drain(engine)
    assert stored(jobs, job_id).status is JobStatus.CANCELED


def test_progress_after_a_cancel_stops_the_engine_at_once(
    drain: Any, job_id: str, jobs: JobStore, queue: JobQueue
) -> None:
    def engine(run: Run) -> Mapping[str, Any]:
        queue.cancel(job_id)
        with pytest.raises(JobCanceled):
            run.report(epoch=2)
        return {}

    drain(engine)
    job = stored(jobs, job_id)
    assert (job.status, job.progress) == (JobStatus.CANCELED, None)


def test_a_worker_that_shuts_down_hands_its_job_back(drain: Any, job_id: str, jobs: JobStore, process: Process) -> None:
    def interrupted(run: Run) -> Mapping[str, Any]:
        process.stopping.set()
        run.check()
        raise AssertionError("the check did not raise")

    drain(interrupted)
    assert stored(jobs, job_id).status is JobStatus.STARTING
    process.stopping.clear()
    drain(lambda run: {"attempt": run.job.attempt})
    assert stored(jobs, job_id).output == {"attempt": 2}


@pytest.mark.parametrize(
    "fault", [Unavailable("The artifact store failed."), TooManyRequests("The job store is full.", 5)]
)
def test_a_store_that_comes_back_costs_a_job_nothing_but_time(
    drain: Any, job_id: str, jobs: JobStore, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr("workers.job_task.PAUSES", (0.01, 0.01, 0.01))
    tries = []

    def engine(run: Run) -> Mapping[str, Any]:
        tries.append(run.job.attempt)
        if len(tries) < 4:
            raise fault
        return {}

    drain(engine)
    assert tries == [1, 1, 1, 1]
    assert stored(jobs, job_id).status is JobStatus.SUCCEEDED


def test_a_store_that_stays_away_fails_the_job_in_the_end(
    drain: Any, job_id: str, jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.job_task.PAUSES", (0.01, 0.01))

    def engine(run: Run) -> Mapping[str, Any]:
        raise Unavailable("The artifact store failed.")

    drain(engine)
    assert stored(jobs, job_id).error == "E1000: The artifact store failed."


def test_an_output_that_is_no_json_fails_the_job_at_once(drain: Any, job_id: str, jobs: JobStore) -> None:
    drain(lambda run: {"seen": object()})
    assert stored(jobs, job_id).error_code == "E1000"


def test_a_job_outlives_its_lease_while_its_worker_renews(
    drain: Any, job_id: str, jobs: JobStore, redis: Redis, settings: Settings, artifacts: Any, eventually: Any
) -> None:
    sweeper = Sweeper(redis, settings, artifacts)
    began = jobs.now()

    def engine(run: Run) -> Mapping[str, Any]:
        eventually(lambda: jobs.now() - began > 2 * settings.queue.lease_seconds, 10)
        assert sweeper.reclaim() == []
        run.check()
        return {}

    drain(engine)
    assert stored(jobs, job_id).attempt == 1


def test_a_released_job_says_so_through_base_exceptions_only() -> None:
    assert not issubclass(JobReleased, Exception)
    assert not issubclass(JobCanceled, Exception)
