import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from cli.data_folder import DataFolder
from cli.programs import Shape, allow_connections, programs
from tests.promises.conftest import MODEL, PLAIN, Stack, free_port

pytestmark = pytest.mark.long
PATH = f"/v1/models/{MODEL}/predictions"
IDLE, HALF, WRITERS, READERS = 2_000, 200, 200, 200


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_connections()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def served(make_stack: Callable[..., Stack]) -> Stack:
    """A service whose API is started as ``headrace up`` starts it."""
    stack = make_stack()
    port = free_port()
    folder = DataFolder(stack.settings.data_dir)
    api = programs(stack.settings, folder, Shape(port=port))[-1]
    stack.start(*api.command[api.command.index("-m") + 1 :], name="api")
    stack.url = f"http://127.0.0.1:{port}"
    stack.wait(lambda: stack.answers("/livez"), "the API")
    return stack


class Crowd:
    """Connections that hold on to the API in one way or another."""

    def __init__(self, stack: Stack) -> None:
        self._address = ("127.0.0.1", int(stack.url.rpartition(":")[2]))
        self._key = stack.key
        self._sockets: list[socket.socket] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def connect(self, first: bytes = b"", buffer: int = 0) -> socket.socket:
        peer = socket.socket()
        if buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        peer.settimeout(10)
        peer.connect(self._address)
        peer.sendall(first)
        self._sockets.append(peer)
        return peer

    def idle(self) -> None:
        for _ in range(IDLE):
            self.connect()

    def half_open(self) -> None:
        for _ in range(HALF):
            self.connect(f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le".encode())

    def slow_writers(self) -> None:
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._key}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
        peers = [self.connect(head.encode()) for _ in range(WRITERS)]
        self._in_background(peers, lambda peer: peer.send(b" "))

    def slow_readers(self) -> None:
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        peers = [self.connect(ask * 4, buffer=4096) for _ in range(READERS)]
        self._in_background(peers, lambda peer: peer.recv(16))

    def all(self) -> None:
        self.idle()
        self.half_open()
        self.slow_writers()
        self.slow_readers()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for peer in self._sockets:
            peer.close()

    def _in_background(self, peers: list[socket.socket], step: Callable[[socket.socket], object]) -> None:
        for peer in peers:
            peer.setblocking(False)

        def go() -> None:
            while not self._stop.is_set():
                for peer in peers:
                    with suppress(OSError):  # nothing to read now, or the server has had enough of this one
                        step(peer)
                    self._stop.wait(1 / len(peers))

        self._threads.append(threading.Thread(target=go))
        self._threads[-1].start()


def latencies(stack: Stack, count: int = 300) -> list[float]:
    """How long creates take, sorted; ten on each connection, the first of them with the time to connect."""
    body = json.dumps({"input": {"x": [1, PLAIN]}})
    headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
    host, taken = stack.url.removeprefix("http://"), []
    for _ in range(count // 10):
        with closing(http.client.HTTPConnection(host, timeout=20)) as connection:
            for _ in range(10):
                began = time.perf_counter()
                connection.request("POST", PATH, body, headers)
                with connection.getresponse() as reply:
                    reply.read()
                taken.append(time.perf_counter() - began)
                assert reply.status == 201
    return sorted(taken)


@pytest.mark.parametrize("kind", ["idle", "half_open", "slow_writers", "slow_readers", "all"])
def test_clients_that_hold_on_do_not_move_the_latency_of_others(served: Stack, kind: str) -> None:
    latencies(served, 100)
    before = latencies(served)
    crowd = Crowd(served)
    try:
        getattr(crowd, kind)()
        latencies(served, 200)  # what comes at once with so many is over then
        during = latencies(served)
    finally:
        crowd.close()
    after = latencies(served)
    print(kind, [round(1000 * t[k], 1) for t in (before, during, after) for k in (150, 285)])
    assert during[150] <= 2 * max(before[150], after[150])
    assert during[285] <= 3 * max(before[285], after[285])
