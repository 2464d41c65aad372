import functools
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from shared.artifacts import REFERENCE
from shared.http_client import lane_of
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, fetched_path, queue_of
from tests.promises.conftest import Stack
from tests.promises.test_2_one_webhook_id import start_io
from tests.shared.outbound.servers import Listener

POOL = "predict.cpu"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(5000)


@pytest.fixture
def fetching(make_stack: Callable[..., Stack]) -> Stack:
    """A service whose downloads are soon another worker's; it has no process but Redis yet."""
    return make_stack(
        HEADRACE_OUTGOING__ALLOWED_NETWORKS='["127.0.0.1/32"]',
        HEADRACE_OUTGOING__FETCH_TIMEOUT_SECONDS="2",
        HEADRACE_WEBHOOKS__TIMEOUT_SECONDS="2",
        HEADRACE_WEBHOOKS__LEASE_SECONDS="2.5",
    )


@pytest.fixture
def server() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def submit(stack: Stack, url: str) -> str:
    id_, version = new_job_id(), stack.version
    place = REFERENCE + fetched_path(id_, 0)
    new = NewJob(
        id=id_, kind=JobKind.PREDICTION, account="acme", key_id="k", queue=queue_of(version, POOL), pool=POOL,
        version=version, input=orjson.dumps({"image": place}),
        details={"sources": {place: url}}, fetch_host=lane_of(url),
    )  # fmt: skip
    return stack.queue.submit(new).id


def stalls_once(listener: Listener, sock: Any) -> None:
    listener.hear(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG[:3000])
    if len(listener.requests) > 1:
        sock.sendall(PNG[3000:])
    else:
        listener.over.wait(20)


def test_a_worker_killed_in_a_download_leaves_the_job_to_another_and_no_half_file(
    fetching: Stack, server: Listener
) -> None:
    server.speak = functools.partial(stalls_once, server)
    job = submit(fetching, server.url())
    first = start_io(fetching)
    fetching.wait(lambda: server.requests, "the first download")
    fetching.kill(first)
    assert not fetching.artifacts.names(f"fetched/{job}")
    assert not list((fetching.settings.data_dir / "uploads").iterdir())
    start_io(fetching)
    fetching.wait(lambda: fetching.jobs.place(fetching.jobs.get(job)), "the job in its queue")
    assert fetching.artifacts.read(fetched_path(job, 0)) == PNG
    assert len(server.requests) == 2


@pytest.mark.long
def test_a_server_that_never_ends_its_file_ends_the_job(fetching: Stack, server: Listener) -> None:
    def stalls(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
        listener.over.wait(30)

    server.speak = functools.partial(stalls, server)
    job = submit(fetching, server.url())
    start_io(fetching)
    fetching.wait(lambda: fetching.jobs.get(job).is_terminal, "the end of the job")
    assert (
        fetching.jobs.get(job).error == "E1005: image cannot be fetched: the host 127.0.0.1 did not answer within 2 s"
    )
    assert len(server.requests) == 3 and not fetching.artifacts.names(f"fetched/{job}")


@pytest.mark.long
def test_answers_that_break_in_any_way_leave_no_job_held(fetching: Stack, server: Listener) -> None:
    replies = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx", b"SSH-2.0-x\r\n"])

    def broken(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(next(replies, b""))

    server.speak = functools.partial(broken, server)
    job = submit(fetching, server.url())
    start_io(fetching)
    fetching.wait(lambda: fetching.jobs.get(job).is_terminal, "the end of the job")
    assert fetching.jobs.get(job).error_code == "E1005"
