import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.jobs.job import Job, JobKind, new_job_id
from shared.jobs.new_job import NewJob, fetched_path
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from tests.shared.outbound.servers import Listener, Names, answering
from tests.workers.outgoing.conftest import PNG, POOL, QUEUE

Eventually = Callable[..., Any]


def ended(jobs: JobStore, eventually: Eventually, id_: str) -> Job:
    eventually(lambda: (job := jobs.get(id_)) is not None and job.is_terminal, what="the end of the job")
    job = jobs.get(id_)
    assert job is not None
    return job


def nothing_stays(artifacts: ArtifactStore, settings: Settings, eventually: Eventually, id_: str) -> None:
    eventually(lambda: not artifacts.names(f"fetched/{id_}"), what="the folder of the job being cleared away")
    folder = Path(settings.data_dir) / "uploads"
    assert not folder.exists() or not list(folder.iterdir())


def test_a_job_with_a_url_joins_its_queue_when_the_file_is_here_and_counts_its_bytes(
    serve: Any, start_fetcher: Any, submit_urls: Any, take: Any, artifacts: ArtifactStore, jobs: JobStore,
    eventually: Eventually,
) -> None:  # fmt: skip
    server = serve(answering(body=PNG, Content_Type="text/html"))
    id_ = submit_urls(server.url("/cat.png?token=secret"))
    assert jobs.get(id_).status == "starting" and not take()[1]
    start_fetcher()
    _, taken = eventually(lambda: (found := take())[1] and found)
    assert [job.id for job in taken] == [id_]
    assert artifacts.read(fetched_path(id_, 0)) == PNG
    assert jobs.get(id_).bytes > len(PNG)


def test_several_urls_of_one_job_are_fetched_in_order_and_once(
    serve: Any, start_fetcher: Any, submit_urls: Any, take: Any, artifacts: ArtifactStore, eventually: Eventually
) -> None:
    def numbered(listener: Listener, sock: Any) -> None:
        request = listener.hear(sock)
        number = request.split()[1][1:]
        body = PNG + number
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    first, second = serve(numbered), serve(numbered)
    id_ = submit_urls(*(server.url(f"/{number}") for number, server in enumerate((first, second, first, second))))
    start_fetcher()
    eventually(lambda: take()[1])
    assert [artifacts.read(fetched_path(id_, number))[-1:] for number in range(4)] == [b"0", b"1", b"2", b"3"]
    assert [request.split()[1] for request in first.requests] == [b"/0", b"/2"]
    assert [request.split()[1] for request in second.requests] == [b"/1", b"/3"]


REFUSED = {
    "a page": (answering(body=b"<html>sign in</html>", Content_Type="image/png"), "not a PNG"),
    "nothing": (answering(body=b""), "not a PNG"),
    "what is missing": (answering("404 Not Found"), "answered 404"),
    "a redirect": (answering("302 Found", Location="http://169.254.169.254/"), "redirect"),
    "more than the limit": (answering(body=PNG + bytes(8000)), "larger than 9000 bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_had_ends_the_job_at_once_and_says_why(
    what: str, serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, artifacts: ArtifactStore,
    settings: Settings, eventually: Eventually,
) -> None:  # fmt: skip
    speak, reason = REFUSED[what]
    server = serve(speak)
    id_ = submit_urls(server.url("/cat.png?token=secret"))
    start_fetcher(fetch_bytes=9000)
    job = ended(jobs, eventually, id_)
    assert job.status == "failed" and job.error_code == "E1005"
    assert job.error.startswith("E1005: image cannot be fetched: ") and reason in job.error
    assert "secret" not in job.error and len(server.requests) == 1
    nothing_stays(artifacts, settings, eventually, id_)


def test_a_chunked_file_is_left_where_it_grows_too_large(
    serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, artifacts: ArtifactStore, settings: Settings,
    eventually: Eventually,
) -> None:  # fmt: skip
    def endless(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d8\r\n" + PNG + b"\r\n")
        while not listener.over.is_set():
            sock.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")

    id_ = submit_urls(serve(endless).url())
    start_fetcher(fetch_bytes=100_000)
    assert "larger than 100000 bytes" in ended(jobs, eventually, id_).error
    nothing_stays(artifacts, settings, eventually, id_)


def test_the_files_of_one_job_are_bounded_together_and_the_field_is_named(
    serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, eventually: Eventually
) -> None:
    server = serve(answering(body=PNG))
    id_ = submit_urls(*(server.url(f"/{number}") for number in range(4)))
    start_fetcher(fetch_job_bytes=5000)
    error = ended(jobs, eventually, id_).error
    assert error == "E1005: image[2] cannot be fetched: all files of the job have more than 5000 bytes together"


def test_a_name_that_leads_inside_ends_the_job_without_a_connection_or_an_address_in_its_error(
    serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, eventually: Eventually
) -> None:
    inside = serve(answering(body=PNG))
    id_ = submit_urls(f"http://pictures.test:{inside.port}/cat.png")
    # The second answer would be let through: the first decides, for good.
    start_fetcher(resolve=Names(pictures_test=[["127.0.0.2"], ["127.0.0.1"]]))
    error = ended(jobs, eventually, id_).error
    assert "The host pictures.test may not be reached".lower() in error.lower() and "127.0.0" not in error
    assert inside.connections == 0


def test_a_failure_that_passes_is_tried_again_and_a_lasting_one_ends_the_job(
    serve: Any, start_fetcher: Any, submit_urls: Any, take: Any, jobs: JobStore, eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.outgoing.fetching._PAUSES", (0.05,))

    def busy_once(listener: Listener, sock: Any) -> None:
        reply = answering(body=PNG) if listener.requests else answering("503 Busy", Retry_After="0")
        reply(listener, sock)

    start_fetcher()
    id_ = submit_urls(serve(busy_once).url())
    assert [job.id for job in eventually(lambda: take()[1])] == [id_]

    broken = serve(answering("500 Broken"))
    job = ended(jobs, eventually, submit_urls(broken.url()))
    assert "answered 500" in job.error and len(broken.requests) == 3


def test_a_full_queue_lets_the_job_in_later_and_fetches_nothing_twice(
    redis: Redis, settings: Settings, serve: Any, submit_urls: Any, take: Any, queue: JobQueue, jobs: JobStore,
    artifacts: ArtifactStore, start_fetcher: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.outgoing.fetching._FULL_SECONDS", 0.05)
    server = serve(answering(body=PNG))
    blocking = NewJob(
        id=new_job_id(), kind=JobKind.PREDICTION, account="bob", key_id="k", queue=QUEUE, pool=POOL, input=b"1" * 200,
        model="ada/m", version="v", rows=settings.queue.max_rows,
    )  # fmt: skip
    id_ = submit_urls(server.url())
    queue.submit(blocking)
    start_fetcher()
    eventually(
        lambda: int(redis.hget("headrace:{a}:totals", "outgoing:fetch:later") or 0) >= 2, what="the job's being put off"
    )
    assert jobs.get(id_).status == "starting"
    queue.cancel(blocking.id)
    assert [job.id for job in eventually(lambda: take()[1])] == [id_]
    assert len(server.requests) == 1


def test_what_is_being_fetched_counts_for_its_account_and_waits_where_that_has_no_room(
    redis: Redis, settings: Settings, serve: Any, submit_urls: Any, take: Any, start_fetcher: Any,
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.outgoing.fetching._FULL_SECONDS", 0.05)
    opened = threading.Event()

    def waits(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        opened.wait(10)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)

    server = serve(waits)
    jobs = [submit_urls(server.url(f"/{number}")) for number in range(3)]
    half = settings.queue.account_max_bytes // 2 - 1000
    start_fetcher(fetch_bytes=half, fetch_job_bytes=half)
    eventually(lambda: int(redis.hget("headrace:{a}:totals", "outgoing:fetch:later") or 0) >= 2, what="being put off")
    assert len(server.requests) == 2
    assert int(redis.hget("headrace:{a}:account:ada", "bytes")) <= settings.queue.account_max_bytes
    opened.set()
    found: list[str] = []
    eventually(lambda: found.extend(job.id for job in take()[1]) or len(found) == 3)
    assert sorted(found) == sorted(jobs) and len(server.requests) == 3
    assert int(redis.hget("headrace:{a}:account:ada", "bytes")) < 4 * len(PNG)


def test_a_job_that_is_canceled_meanwhile_ends_at_once_and_leaves_nothing(
    serve: Any, start_fetcher: Any, submit_urls: Any, queue: JobQueue, jobs: JobStore, artifacts: ArtifactStore,
    settings: Settings, eventually: Eventually,
) -> None:  # fmt: skip
    left = threading.Event()

    def slow(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + PNG)
        try:
            while not listener.over.wait(0.02):
                sock.sendall(b"x")
        except OSError:
            left.set()

    server = serve(slow)
    good = serve(answering(body=PNG))
    id_ = submit_urls(good.url(), server.url())
    start_fetcher(fetch_timeout_seconds=30.0)
    eventually(lambda: server.requests)
    assert artifacts.names(f"fetched/{id_}") == ["0"]
    assert queue.cancel(id_) == "starting"
    assert jobs.get(id_).status == "canceled"
    assert left.wait(5), "the download went on"
    nothing_stays(artifacts, settings, eventually, id_)


def test_nothing_is_fetched_for_a_version_that_was_deleted(
    serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, registry: ModelRegistry, version: str,
    artifacts: ArtifactStore, settings: Settings, eventually: Eventually,
) -> None:  # fmt: skip
    server = serve(answering(body=PNG))
    id_ = submit_urls(server.url("/cat.png"))
    registry.delete_version("ada", "m", version)  # as if the deletion had not seen the job, or had been cut short
    start_fetcher()
    job = ended(jobs, eventually, id_)
    assert (job.status, job.error) == ("failed", "E1202: the version of this job was deleted")
    assert not server.requests
    nothing_stays(artifacts, settings, eventually, id_)


def test_a_deadline_that_passes_meanwhile_ends_the_job(
    settings: Settings, serve: Any, start_fetcher: Any, submit_urls: Any, jobs: JobStore, artifacts: ArtifactStore,
    eventually: Eventually,
) -> None:  # fmt: skip
    def silent(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        listener.over.wait(20)

    server = serve(silent)
    id_ = submit_urls(server.url(), deadline_seconds=0.5)
    start_fetcher(fetch_timeout_seconds=30.0)
    eventually(lambda: server.requests)
    eventually(lambda: jobs.get(id_).is_terminal)
    assert jobs.get(id_).error_code == "E1401"
    nothing_stays(artifacts, settings, eventually, id_)


def test_a_worker_that_stops_hands_its_downloads_to_the_next_at_once(
    serve: Any, start_fetcher: Any, submit_urls: Any, take: Any, eventually: Eventually, redis: Redis
) -> None:
    started = threading.Event()

    def slow_once(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        if len(listener.requests) == 1:
            started.set()
            listener.over.wait(10)
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)

    id_ = submit_urls(serve(slow_once).url())
    first = start_fetcher(fetch_timeout_seconds=30.0)
    assert started.wait(10)
    first.stop()
    first._runners["fetch"].__self__._stopping.set()
    first.join(5)
    start_fetcher()
    assert [job.id for job in eventually(lambda: take()[1])] == [id_]
