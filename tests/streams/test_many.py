import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.promises.conftest import MODEL, PLAIN, Stack
from tests.streams.conftest import HEARTBEAT_SECONDS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

STREAMS, THREADS = 400, 512
JOBS = 20


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    made = make_stack()
    made.start_api(threads=THREADS)
    return made


@pytest.fixture
def jobs(stack: Stack) -> list[str]:
    return [stack.post([n, PLAIN])["id"] for n in range(JOBS)]


class Crowd:
    """Readers that are sockets and nothing else, so that reading costs little."""

    def __init__(self, stack: Stack) -> None:
        self._address = ("127.0.0.1", urlsplit(stack.url).port)
        self._key = stack.key
        self.sockets: list[socket.socket] = []

    def open(self, job_id: str) -> bytes:
        """Opens one stream; what came first."""
        reader = socket.create_connection(self._address, timeout=30)  # type: ignore[arg-type]
        lines = (f"GET /v1/jobs/{job_id}/events HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self._key}")
        reader.sendall("\r\n".join((*lines, "", "")).encode())
        began = b""
        while b"\r\n\r\n" not in began or (b" 200 " in began[:20] and b"event: " not in began):
            piece = reader.recv(65536)
            assert piece, began
            began += piece
        self.sockets.append(reader)
        return began

    def close(self) -> None:
        for reader in self.sockets:
            reader.close()


@pytest.fixture
def crowd(stack: Stack) -> Iterator[Crowd]:
    made = Crowd(stack)
    yield made
    made.close()


def rest_of(reader: socket.socket) -> bytes:
    """Everything until the connection says that its reply is whole."""
    rest = b""
    while not rest.endswith(b"0\r\n\r\n"):
        piece = reader.recv(65536)
        assert piece, rest
        rest += piece
    return rest


def wait_for_heartbeat(reader: socket.socket) -> None:
    """Returns at the moment of one, of a stream to which nothing else comes."""
    reader.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while reader.recv(65536):
            pass
    reader.settimeout(30)
    assert b": " in reader.recv(65536)


def memory_of(process: int) -> int:
    """Resident megabytes."""
    fields = Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()
    return int(fields[0]) // 1024


def test_400_streams_are_open_on_one_process_and_others_are_answered(
    stack: Stack, jobs: list[str], crowd: Crowd
) -> None:
    api = next(process for process in stack.processes if "granian" in str(process.args))
    for number in range(STREAMS):
        assert b"event: status" in crowd.open(jobs[number % JOBS])
    assert b" 503 " in crowd.open(jobs[0])[:20]
    crowd.sockets.pop().close()

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {stack.key}"
    seconds: dict[str, list[float]] = {"read": [], "create": []}
    for number in range(40):
        began = time.perf_counter()
        assert session.get(f"{stack.url}/v1/jobs/{jobs[number % JOBS]}").status_code == 200
        seconds["read"].append(time.perf_counter() - began)
        began = time.perf_counter()
        made = session.post(f"{stack.url}/v1/models/{MODEL}/predictions", json={"input": {"x": [number, PLAIN]}})
        assert made.status_code == 201
        seconds["create"].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"{name} beside {STREAMS} streams: {1000 * statistics.median(values):.1f} ms")
        assert statistics.median(values) < 0.25, name
    print(f"the API takes {sum(map(memory_of, children_of(api.pid)))} MB")

    stack.start_worker()
    for reader in crowd.sockets:
        assert b"event: done" in rest_of(reader)


def test_a_reader_who_left_frees_its_place_within_one_heartbeat(stack: Stack, jobs: list[str], crowd: Crowd) -> None:
    for number in range(STREAMS):
        crowd.open(jobs[number % JOBS])
    left, crowd.sockets = crowd.sockets[:100], crowd.sockets[100:]
    wait_for_heartbeat(left[-1])  # so that its next one is as far away as can be
    for reader in left:
        reader.close()
    gone = time.monotonic()
    opened, late = 0, 0.0
    while opened < len(left):
        if b" 200 " in crowd.open(jobs[0])[:20]:
            opened += 1
            late = time.monotonic() - gone
        else:
            crowd.sockets.pop().close()
            time.sleep(0.02)
        assert time.monotonic() - gone < 10 * HEARTBEAT_SECONDS, opened
    print(f"the last place was free {late:.1f} s after its reader had left")
    assert late < HEARTBEAT_SECONDS + 1.0, late


def children_of(process: int) -> list[int]:
    """The processes below one, and itself."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(pid for child in map(int, listed) for pid in children_of(child))]
