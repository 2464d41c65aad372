from collections.abc import Callable

import pytest

from shared.connections import Redis
from shared.jobs.events import PAGE, START, History, Place
from shared.jobs.new_job import NewJob
from shared.jobs.queue import JobQueue
from shared.settings import Settings


@pytest.fixture
def followed(queue: JobQueue, new_job: Callable[..., NewJob]) -> str:
    job_id = queue.submit(new_job()).id
    assert queue.follow(job_id)
    return job_id


@pytest.fixture
def add(redis: Redis, followed: str) -> Callable[[int], None]:
    """Lets that many things happen to the job."""

    def make(count: int) -> None:
        with redis.pipeline() as pipe:
            for number in range(count):
                pipe.xadd(f"headrace:{{a}}:events:{followed}", {"event": "log", "data": f"{number}"})
            pipe.execute()

    return make


def trim(redis: Redis, job_id: str, left: int) -> None:
    redis.xtrim(f"headrace:{{a}}:events:{job_id}", left, approximate=False)


def test_a_long_history_is_read_page_by_page_in_order(
    redis: Redis, settings: Settings, followed: str, add: Callable[[int], None]
) -> None:
    add(PAGE + 50)
    history = History(redis, settings, followed)
    pages = [history.read() for _ in range(3)]

    assert [len(page.events) for page in pages] == [PAGE, 51, 0]
    assert [event.data for page in pages for event in page.events] == ["starting", *map(str, range(PAGE + 50))]
    assert not any(page.missed for page in pages)
    places = [event.place for page in pages for event in page.events]
    assert places == sorted(set(places))
    add(1)
    assert [event.data for event in history.read().events] == ["0"]


def test_a_reader_is_told_exactly_what_went_while_it_was_away(
    redis: Redis, settings: Settings, followed: str, add: Callable[[int], None]
) -> None:
    history = History(redis, settings, followed)
    add(9)
    assert len(history.read().events) == 10
    add(20)
    trim(redis, followed, 25)  # all of what went has been read
    assert (len((reading := history.read()).events), reading.missed) == (20, 0)
    add(20)
    trim(redis, followed, 5)
    assert (len((reading := history.read()).events), reading.missed) == (5, 15)
    add(3)
    assert (len((reading := history.read()).events), reading.missed) == (3, 0)
    late = History(redis, settings, followed).read()
    assert (len(late.events), late.missed) == (8, 45)


def test_a_job_without_a_stream_has_no_history(
    redis: Redis, settings: Settings, queue: JobQueue, new_job: Callable[..., NewJob]
) -> None:
    job_id = queue.submit(new_job()).id

    assert History(redis, settings, job_id).read().events == []
    assert not queue.follow("a" * 26)
    queue.cancel(job_id)
    assert not queue.follow(job_id)


def test_a_followed_job_has_its_first_event_with_its_record(
    redis: Redis, settings: Settings, queue: JobQueue, new_job: Callable[..., NewJob]
) -> None:
    job_id = queue.submit(new_job(is_followed=True)).id
    queue.follow(job_id)

    assert [(event.name, event.data) for event in History(redis, settings, job_id).read().events] == [
        ("status", "starting")
    ]


def test_every_event_is_said_on_one_channel(redis: Redis, queue: JobQueue, new_job: Callable[..., NewJob]) -> None:
    with redis.pubsub() as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("headrace:{a}:noted")
        heard.get_message(timeout=5)
        followed, other = queue.submit(new_job(is_followed=True)).id, queue.submit(new_job()).id
        queue.cancel(other)
        queue.cancel(followed)
        messages = [heard.get_message(timeout=5)["data"].decode() for _ in range(2)]

    assert messages == [followed, followed]


@pytest.mark.parametrize("place", [Place(1690212292, 0), Place(1, 2, 3), START])
def test_a_place_is_a_text_and_back(place: Place) -> None:
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2:", "1-2:x", "1-2\n", "9" * 16 + "-0", "１-２"])
def test_any_other_text_is_no_place(text: str) -> None:
    assert Place.parse(text) is None
