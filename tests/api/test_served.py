import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import requests

from shared.connections import Redis
from shared.models.version import ModelVersion

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


def test_half_sent_bodies_hold_neither_reads_nor_health_checks(
    server: Any, api_key: str, eventually: Callable[..., Any]
) -> None:
    port = int(server.url.rpartition(":")[2])
    head = (
        f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(40)]
        for sender in sockets:
            sender.sendall(head.encode() + b'{"a')
        # 24 of the 32 threads read; who comes after is refused at once, and those without a body are served.
        eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == 16, 10)
        answered = select.select(sockets, [], [], 0)[0]
        assert b" 503 " in answered[0].recv(200)
        headers = {"Authorization": f"Bearer {api_key}"}
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
        assert requests.get(f"{server.url}/v1/predictions", headers=headers, timeout=5).status_code == 200
    # The server sees that they have gone, and takes bodies again.
    url = f"{server.url}/v1/predictions"
    eventually(lambda: requests.post(url, json={}, headers=headers, timeout=5).status_code == 422, 10)
