import itertools
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import requests

from shared.connections import Redis
from shared.models.version import ModelVersion
from shared.settings import Settings

LENGTH, CHUNKED = "Content-Length: 1000", "Transfer-Encoding: chunked"
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
HALVES = (
    ("/v1/predictions", "application/json", LENGTH, b'{"a'),
    ("/v1/predictions", "application/json", CHUNKED, b'3\r\n{"a'),
    ("/v1/models/ada/digits/predictions", "image/png", LENGTH, b"png"),
    ("/v1/predictions", FORM, LENGTH, PART),
    ("/v1/datasets", FORM, LENGTH, PART),
    ("/v1/models/ada/digits/versions", FORM, CHUNKED, b"%x\r\n%s" % (len(PART), PART)),
)
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_a_held_request_is_answered_when_the_server_stops(
    server: Any, api_key: str, version: ModelVersion, redis: Redis, eventually: Callable[..., Any]
) -> None:
    headers = {"Authorization": f"Bearer {api_key}", "Prefer": "wait=60"}
    body = {"version": version.id, "input": {"image": PIXEL}}
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(requests.post, f"{server.url}/v1/predictions", json=body, headers=headers, timeout=70)
        eventually(lambda: redis.zcard(f"headrace:{{a}}:queue:{version.id}@predict.cpu"), 10)
        begun = time.monotonic()
        server.process.terminate()
        reply = held.result(10)
    assert (reply.status_code, reply.json()["status"]) == (201, "starting")
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 10


def test_a_body_without_a_length_is_read_no_further_than_it_may_be_long(server: Any, api_key: str) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(66):
            yield b"a" * (1 << 20)

    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    try:
        reply = requests.post(f"{server.url}/v1/predictions", data=body(), headers=headers, timeout=60)
    except requests.ConnectionError:  # the server has closed while this still sends
        return
    assert reply.status_code == 413


def test_a_chunked_upload_and_a_doubled_prefix_arrive(server: Any, api_key: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\ndigits\r\n'
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    pieces = [head, *([b"x" * (1 << 20)] * 3), b"\r\n--b--\r\n"]
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "multipart/form-data; boundary=b"}
    reply = requests.post(f"{server.url}/v1/v1/datasets", data=iter(pieces), headers=headers, timeout=60)
    assert reply.status_code == 201
    assert reply.json()["details"]["bytes"] == 3 << 20


def _half_sent(server: Any, api_key: str, count: int, stack: ExitStack) -> list[socket.socket]:
    """Sends half a body of each form on many connections, which the caller's stack closes."""
    port = int(server.url.rpartition(":")[2])
    sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
    for sender, (path, content_type, length, half) in zip(sockets, itertools.cycle(HALVES), strict=False):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_key}\r\n"
        head += f"Content-Type: {content_type}\r\n{length}\r\n\r\n"
        sender.sendall(head.encode() + half)
    return sockets


def test_half_sent_bodies_hold_neither_reads_nor_health_checks(
    server: Any, api_key: str, eventually: Callable[..., Any]
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    with ExitStack() as stack:
        sockets = _half_sent(server, api_key, 40, stack)
        # 26 of the 32 threads read; who comes after is refused at once, and those without a body are served.
        eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == 14, 10)
        refusal = select.select(sockets, [], [], 0)[0][0].recv(4096).lower()
        assert b" 503 " in refusal and b"application/problem+json" in refusal and b"retry-after: 1\r\n" in refusal
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
        assert requests.get(f"{server.url}/v1/predictions", headers=headers, timeout=5).status_code == 200
    # The server sees that they have gone, and takes bodies again.
    url = f"{server.url}/v1/predictions"
    eventually(lambda: requests.post(url, json={}, headers=headers, timeout=5).status_code == 422, 10)


def test_half_sent_bodies_and_waits_together_leave_threads_free(
    server: Any, api_key: str, version: ModelVersion, eventually: Callable[..., Any]
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"version": version.id, "input": {"image": PIXEL}}
    made = requests.post(f"{server.url}/v1/predictions", json=body, headers=headers, timeout=5).json()
    waiter = f"GET /v1/jobs/{made['id']}?wait=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_key}\r\n\r\n"
    port = int(server.url.rpartition(":")[2])
    with ExitStack() as stack:
        sockets = _half_sent(server, api_key, 40, stack)
        eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == 14, 10)
        waiters = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(40)]
        for held in waiters:
            held.sendall(waiter.encode())
        # Two wait, since 28 threads may be held at all; the others hear at once how the job stands.
        eventually(lambda: len(select.select(waiters, [], [], 0)[0]) == 38, 10)
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200


def test_the_command_line_deletes_a_model_that_serves(server: Any, api_key: str, version: ModelVersion) -> None:
    variables = {"HEADRACE_CLIENT__URL": server.url, "HEADRACE_CLIENT__API_KEY": api_key}
    command = [sys.executable, "-m", "cli", "models", "delete", version.model]
    for also, status in (([], 200), (["--yes"], 404)):
        done = subprocess.run(
            [*command, *also],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode == 0) is (status == 404), done.stderr
        reply = requests.get(
            f"{server.url}/v1/models/{version.model}", headers={"Authorization": f"Bearer {api_key}"}, timeout=5
        )
        assert reply.status_code == status


def test_an_api_killed_in_an_upload_leaves_nothing_of_it(
    server: Any, api_key: str, settings: Settings, eventually: Callable[..., Any]
) -> None:
    folder = settings.data_dir / "uploads"
    processes = [server.process, *psutil.Process(server.process.pid).children(recursive=True)]

    def received() -> list[int]:
        """Sizes of the files on their way in that the server's processes have open."""
        found = [entry for process in processes for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        return [entry.stat().st_size for entry in found if os.readlink(entry).startswith(str(folder))]

    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as sender:
        head = f"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_key}\r\n"
        head += f"Content-Type: {FORM}\r\nContent-Length: 9000000\r\n\r\n"
        sender.sendall(head.encode() + PART + bytes(1 << 20))
        eventually(lambda: sum(received()) > 100_000, 20)
        for process in processes:
            process.kill()
        server.process.wait()
    assert list(folder.iterdir()) == []
