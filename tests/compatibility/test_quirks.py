import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.compatibility.matrix import QUIRKS
from tests.compatibility.relay import Relay
from tests.compatibility.service import Service

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

READS_PER_MINUTE = 30
BURST = READS_PER_MINUTE + 6


@pytest.fixture(scope="module")
def limited(service: Service) -> str:
    """Address of an API that lets a key read so often and no more, and forgets the data of jobs after a second."""
    return service.start_api(
        "limited",
        HEADRACE_HTTP__RATE_LIMIT_REQUESTS_PER_MINUTE=str(READS_PER_MINUTE),
        HEADRACE_JOBS__RETAIN_SECONDS="1",
    )


@pytest.fixture(scope="module")
def forgiving(service: Service) -> str:
    """Address of an API that takes equal creates for repetitions."""
    return service.start_api("forgiving", HEADRACE_HTTP__REPEAT_SECONDS="30")


@pytest.fixture(scope="module")
def quirks(
    service: Service, limited: str, forgiving: str, tell: Callable[..., subprocess.CompletedProcess[str]]
) -> Iterator[Callable[[str], dict[str, Any]]]:
    """What a client's script answered to its own cells."""
    found: dict[str, dict[str, Any]] = {}
    relays: list[Relay] = []

    def ask(script: str) -> dict[str, Any]:
        if script not in found:
            relay, other = Relay(service.urls["http"], cuts=2), Relay(forgiving, cuts=2)
            relays.extend((relay, other))
            name = script.partition(".")[0].replace("_", "-")
            done = tell(
                script,
                name,
                service.urls["http"],
                relay=relay.url,
                forgiving_relay=other.url,
                cut_key=service.key(name + "-cut"),
                forgiving_key=service.key(name + "-forgiving"),
                limited=limited,
                limited_key=service.key(name + "-limited"),
                strict_key=service.key(name + "-strict"),
                burst=BURST,
                spare={"model": f"stock/{name}", "version": service.publish(name, "text", alias=False)},
            )
            assert done.returncode == 0, done.stderr[-3000:]
            found[script] = json.loads(done.stdout)
        return found[script]

    yield ask
    for relay in relays:
        relay.close()


@pytest.mark.parametrize(("script", "cell", "expected"), QUIRKS)
def test_the_quirk_of(script: str, cell: str, expected: Any, quirks: Callable[[str], dict[str, Any]]) -> None:
    found = quirks(script)[cell]
    assert "raised" not in found, found["raised"]
    assert found["answer"] == expected


def test_the_key_that_a_broken_client_sends_as_input_is_in_no_log(
    service: Service, quirks: Callable[[str], dict[str, Any]]
) -> None:
    quirks("quirks_js.mjs")
    logs = "".join(path.read_text() for path in service.folder.glob("*.log"))
    assert logs and "hr_" not in logs
    assert not list(service.redis.scan_iter("*:data:*fileEncodingStrategy*"))


def test_a_stream_is_kept_alive_by_comments_and_ends_by_itself(service: Service) -> None:
    key = service.key("streams")
    made = service.call(key, "POST", "/v1/models/stock/text/predictions", {"input": {"prompt": "sleep 3 hello"}}).json()
    with requests.get(made["urls"]["stream"], stream=True, timeout=10) as reply:
        lines = [line for line in reply.iter_lines(decode_unicode=True) if line]
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert sum(line.startswith(":") for line in lines) >= 2
    assert [line for line in lines if line.startswith(("event:", "data:"))] == [
        "event: output",
        "data: HELLO",
        "event: done",
        "data: {}",
    ]
