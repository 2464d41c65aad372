import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
