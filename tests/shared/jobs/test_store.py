import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import InvalidInput
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.jobs.claim import Outcome, Taken
from shared.jobs.job import JobKind, JobStatus, new_job_id
from shared.jobs.lua import Scripts
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobPage, JobStore
from shared.jobs.sweeps import Sweeper
from shared.settings import JobsSettings, Settings

ALL = list(JobKind)

Eventually = Callable[..., object]
Jobs = Callable[..., list[str]]
Made = Callable[..., str]
Maker = Callable[..., NewJob]
Outcomes = Callable[..., list[Outcome]]
Takes = Callable[..., Taken]


@pytest.fixture
def made(redis: Redis) -> Made:
    """Makes a job at a moment of the test's choice."""
    scripts = Scripts(redis)

    def make(moment: int, kind: JobKind = JobKind.PREDICTION, account: str = "ann", **fields: str) -> str:
        id_ = new_job_id()
        record = {
            "kind": str(kind), "key_id": "k1", "deadline_by": "default", "spill": "", "hook": "0", **fields,
        }  # fmt: skip
        args: tuple[Any, ...] = (
            id_, "m1", "predict.cpu", account, "normal", 1, 2, 4, 10**12, 10**9, 10**9, "", "", 10**9, 10**12, 10**9,
            10**12, "", "{}", *(part for item in record.items() for part in item),
        )  # fmt: skip
        scripts.call("submit", "headrace:{a}", *args, now=moment * 1000)
        return id_

    return make


def ids_of(page: JobPage) -> list[str]:
    return [job.id for job in page.jobs]


def walk(jobs: JobStore, limit: int, **filters: Any) -> list[JobPage]:
    """All pages from the newest on."""
    pages = [jobs.list("ann", ALL, limit=limit, **filters)]
    while pages[-1].next_cursor is not None:
        pages.append(jobs.list("ann", ALL, limit=limit, cursor=pages[-1].next_cursor, **filters))
    return pages


def test_an_unknown_job_is_none(jobs: JobStore) -> None:
    assert jobs.get(new_job_id()) is None
    assert jobs.peek(new_job_id()) is None
    assert jobs.get("") is None
    assert jobs.peek("") is None


def test_a_peek_reads_no_data(jobs: JobStore, submit: Jobs) -> None:
    (id_,) = submit(input=b'{"large": 1}')

    job = jobs.peek(id_)

    assert job is not None
    assert (job.status, job.input, job.data_removed) == ("starting", None, False)


@pytest.mark.parametrize(
    ("deadline", "status", "code"), [(0.001, JobStatus.CANCELED, "E1401"), (None, JobStatus.FAILED, "E1402")]
)
def test_reading_a_job_applies_a_deadline_that_has_passed(
    redis: Redis, settings: Settings, jobs: JobStore, new_job: Maker, eventually: Eventually,
    deadline: float | None, status: JobStatus, code: str,
) -> None:  # fmt: skip
    hasty = settings.model_copy(update={"jobs": JobsSettings(prediction_deadline_seconds=0.001)})
    id_ = JobQueue(redis, hasty).submit(new_job(deadline_seconds=deadline)).id

    job: Any = eventually(lambda: (job := jobs.get(id_)) and job.is_terminal and job)

    assert (job.status, job.error_code, job.error[:5]) == (status, code, code)


def test_data_goes_first_and_the_record_says_so(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, jobs: JobStore, new_job: Maker, eventually: Eventually
) -> None:
    brief = settings.model_copy(update={"jobs": JobsSettings(retain_seconds=0.05)})
    queue = JobQueue(redis, brief, artifacts)
    id_ = queue.submit(new_job()).id
    queue.cancel(id_)

    job: Any = eventually(lambda: (job := jobs.get(id_)) and job.data_removed and job)

    assert (job.status, job.input, job.output, job.logs) == ("canceled", None, None, "")
    assert ids_of(jobs.list("ann", ALL)) == [id_]


def test_the_record_goes_after_its_days_and_the_listing_with_it(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, jobs: JobStore, new_job: Maker, eventually: Eventually
) -> None:
    brief = settings.model_copy(update={"jobs": JobsSettings(retain_seconds=0.01, record_days=1e-6)})
    queue = JobQueue(redis, brief, artifacts)
    gone, kept = queue.submit(new_job()).id, queue.submit(new_job()).id
    queue.cancel(gone)

    eventually(lambda: jobs.get(gone) is None)
    assert ids_of(jobs.list("ann", ALL)) == [kept]

    Sweeper(redis, brief, artifacts).run_once()
    assert redis.zrange("headrace:{a}:list:ann:prediction", 0, -1) == [kept.encode()]


def test_a_listing_is_newest_first_with_data(jobs: JobStore, made: Made) -> None:
    ids = [made(moment) for moment in range(1, 6)]

    page = jobs.list("ann", ALL)

    assert ids_of(page) == ids[::-1]
    assert all(job.input == {} for job in page.jobs)
    assert (page.next_cursor, page.previous_cursor) == (None, None)


def test_a_listing_has_only_the_accounts_own_jobs_of_the_kinds(jobs: JobStore, made: Made) -> None:
    mine = made(1, JobKind.TRAINING)
    made(2, JobKind.PREDICTION)
    made(3, JobKind.TRAINING, account="bob")

    assert ids_of(jobs.list("ann", [JobKind.TRAINING])) == [mine]
    assert ids_of(jobs.list("nobody", ALL)) == []


@pytest.mark.parametrize("limit", [1, 2, 7, 19, 20, 21])
def test_pages_of_several_kinds_with_equal_times_lose_and_repeat_nothing(
    jobs: JobStore, made: Made, limit: int
) -> None:
    kinds = (JobKind.PREDICTION, JobKind.TRAINING, JobKind.IMPORT)
    all_ = [(number // 6, made(number // 6, kinds[number % 3])) for number in range(6, 46)]
    newest_first = [id_ for _, id_ in sorted(all_, reverse=True)]

    forward = walk(jobs, limit)
    back = [forward[-1]]
    while back[-1].previous_cursor is not None:
        back.append(jobs.list("ann", ALL, limit=limit, cursor=back[-1].previous_cursor))

    assert [id_ for page in forward for id_ in ids_of(page)] == newest_first
    assert all(len(page.jobs) == limit for page in forward[:-1])
    assert [id_ for page in reversed(back) for id_ in ids_of(page)] == newest_first
    assert forward[0].previous_cursor is None
    assert len(jobs.list("ann", ALL, limit=limit, cursor=back[-1].next_cursor).jobs) > 0


def test_long_listings_of_uneven_kinds_are_merged_in_order(jobs: JobStore, made: Made) -> None:
    old = [(moment, made(moment, JobKind.TRAINING)) for moment in range(1, 250)]
    new = [(moment, made(moment, JobKind.PREDICTION)) for moment in range(100, 700)]
    newest_first = [id_ for _, id_ in sorted(old + new, reverse=True)]

    assert [id_ for page in walk(jobs, 100) for id_ in ids_of(page)] == newest_first


def test_new_jobs_do_not_shift_the_pages(jobs: JobStore, made: Made) -> None:
    ids = [made(moment) for moment in range(1, 7)]
    first = jobs.list("ann", ALL, limit=3)

    late = made(10)
    second = jobs.list("ann", ALL, limit=3, cursor=first.next_cursor)
    newer = jobs.list("ann", ALL, limit=3, cursor=second.previous_cursor)
    newest = jobs.list("ann", ALL, limit=3, cursor=newer.previous_cursor)

    assert ids_of(first) + ids_of(second) == ids[::-1]
    assert ids_of(newer) == ids_of(first)
    assert ids_of(newest) == [late]


def test_deleted_jobs_leave_the_pages(jobs: JobStore, queue: JobQueue, made: Made) -> None:
    ids = [made(moment) for moment in range(1, 6)]
    first = jobs.list("ann", ALL, limit=2)
    for id_ in (ids[3], ids[2]):
        queue.cancel(id_)
        queue.delete(id_)

    assert ids_of(jobs.list("ann", ALL, limit=2, cursor=first.next_cursor)) == [ids[1], ids[0]]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"model": "ann/b"}, [1, 3, 5]),
        ({"version": "v0"}, [0, 3]),
        ({"status": JobStatus.CANCELED}, [5]),
        ({"status": JobStatus.STARTING, "model": "ann/b"}, [1, 3]),
        ({"created_after": 102.0}, [2, 3, 4, 5]),
        ({"created_before": 102.0}, [0, 1]),
        ({"created_after": 101.0, "created_before": 104.0, "model": "ann/a"}, [2]),
        ({"model": "ann/none"}, []),
    ],
)
def test_filters_narrow_a_listing(
    jobs: JobStore, queue: JobQueue, made: Made, filters: dict[str, Any], wanted: list[int]
) -> None:
    ids = [made(100 + number, model=f"ann/{'ab'[number % 2]}", version=f"v{number % 3}") for number in range(6)]
    queue.cancel(ids[5])

    assert ids_of(jobs.list("ann", ALL, **filters)) == [ids[number] for number in reversed(wanted)]
    assert [id_ for page in walk(jobs, 1, **filters) for id_ in ids_of(page)] == [ids[i] for i in reversed(wanted)]


def test_a_rare_job_is_found_far_down_the_listing(jobs: JobStore, made: Made) -> None:
    rare = [made(number, model="ann/rare" if number % 150 == 0 else "ann/usual") for number in range(1, 601)][149::150]

    assert [id_ for page in walk(jobs, 3, model="ann/rare") for id_ in ids_of(page)] == rare[::-1]


@pytest.mark.parametrize("cursor", ["rubbish", "@@@", "b1", "bzE", "8J-YgA", "eDEuYQ"])
def test_a_cursor_that_is_not_ours_is_refused(jobs: JobStore, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        jobs.list("ann", ALL, cursor=cursor)

    assert refusal.value.field == "cursor"


def test_a_place_counts_the_jobs_ahead(jobs: JobStore, submit: Jobs, take: Takes) -> None:
    ids = submit(4)

    def places() -> list[int | None]:
        return [(place := jobs.place(job)) and place.position for id_ in ids if (job := jobs.get(id_))]

    assert places() == [0, 1, 2, 3]
    take(max_rows=1)
    assert places() == [None, 0, 1, 2]


def test_a_suspect_has_its_place_in_the_side_line(queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes) -> None:
    (id_,) = submit()
    for _ in range(5):
        queue.release(take().claim)
    submit(3)

    job = jobs.get(id_)
    place = job and jobs.place(job)
    assert place is not None and place.position == 0


def test_a_wait_is_estimated_from_the_pace_of_the_queue_while_a_worker_lives(
    redis: Redis, settings: Settings, queue: JobQueue, jobs: JobStore, submit: Jobs, take: Takes, outcomes: Outcomes
) -> None:
    submit(2, rows=5)
    taken = take()
    queue.settle(taken.claim, outcomes(taken), batches=[10], decode_ms=100, compute_ms=900)
    redis.hset("headrace:{a}:pace:m1", mapping={"rows": 1000, "ms": 100_000})
    *_, last = submit(5, rows=4)
    job = jobs.get(last)
    assert job is not None

    def estimate() -> float | None:
        place = jobs.place(job)
        assert place is not None
        return place.estimated_wait_seconds

    assert estimate() is None
    heartbeats = Heartbeats(redis, settings)
    heartbeats.beat(WorkerInfo("w3", "inference", "gpu", "host", 3, ()))
    heartbeats.beat(WorkerInfo("w4", "training", "cpu", "host", 4, ()))
    assert estimate() is None
    heartbeats.beat(WorkerInfo("w1", "inference", "cpu", "host", 1, ()))
    assert estimate() == pytest.approx(1.6, rel=0.05)


def test_a_job_whose_large_input_is_gone_can_still_be_read(
    jobs: JobStore, artifacts: ArtifactStore, submit: Jobs, settings: Settings
) -> None:
    (id_,) = submit(input=json.dumps("x" * settings.jobs.inline_input_bytes).encode())
    artifacts.delete(f"inputs/{id_}")

    job = jobs.get(id_)

    assert job is not None and job.input is None
