import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

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
def quirks(
    service: Service, limited: str, tell: Callable[..., subprocess.CompletedProcess[str]]
) -> Iterator[Callable[[str], dict[str, Any]]]:
    """What a client's script answered to its own cells."""
    found: dict[str, dict[str, Any]] = {}
    relays: list[Relay] = []

    def ask(script: str) -> dict[str, Any]:
        if script not in found:
            relays.append(Relay(service.urls["http"], cuts=2))
            name = script.partition(".")[0].replace("_", "-")
            done = tell(
                script,
                name,
                service.urls["http"],
                relay=relays[-1].url,
                cut_key=service.key(name + "-cut"),
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


@pytest.mark.parametrize(
    ("script", "cell", "expected"),
    [
        ("quirks_1.py", "wait_is_dropped_with_a_model", [["starting", None], "HELLO"]),
        ("quirks_1.py", "iterator_from_a_reply_that_expired", ["starting", None, True]),
        ("quirks_1.py", "iterator_from_the_start", True),
        ("quirks_1.py", "rows_before_the_end", ["generator", "A0", True]),
        ("quirks_1.py", "rows_before_the_end_after_a_wait", ["generator", "A0", True]),
        ("quirks_1.py", "output_iterator_before_the_end", ["starting", None, "A0", True]),
        ("quirks_1.py", "stream_before_the_end", ["A0", True]),
        ("quirks_1.py", "rows_of_a_job_that_fails", "E1101:"),
        ("quirks_1.py", "delete_of_a_version", True),
        ("quirks_1.py", "throttled_reads", [["text"], True]),
        ("quirks_1.py", "a_reply_that_is_kept_alive", [201, " ", "HELLO"]),
        ("quirks_1.py", "training_read_as_prediction", "canceled"),
        ("quirks_1.py", "training_of_the_newest_version", ["canceled", "canceled"]),
        ("quirks_1.py", "webhook_completed", ["succeeded"]),
        ("quirks_1.py", "webhook_without_filter", True),
        ("quirks_1.py", "a_prediction_whose_data_is_gone", ["succeeded", None, ""]),
        ("quirks_1.py", "a_stream_that_is_not_there", "ValueError"),
        ("quirks_1.py", "old_header", 200),
        ("quirks_1.py", "unknown_base", [404, True]),
        ("quirks_1.py", "numbers_of_many_kinds", [[2, 4, 6], ["bright", "dark"]]),
        ("quirks_2.py", "short_timeout", ["HELLO", 1]),
        ("quirks_2.py", "cut_connections", ["ONCE", 1]),
        ("quirks_2.py", "throttled_reads", ["text"]),
        ("quirks_2.py", "throttled_without_retries", [True, True, "0"]),
        ("quirks_2.py", "rows_before_the_end", ["A0", True]),
        ("quirks_2.py", "use_of_an_iterator", [["ONE", "TWO"], ["ALONE"], ["ALONE"]]),
        (
            "quirks_2.py",
            "a_version_object_that_is_not_waited_for",
            "Expected prediction output to be a list, got <class 'NoneType'>",
        ),
        ("quirks_2.py", "delete_of_a_version", True),
        ("quirks_2.py", "times", [True, True]),
        ("quirks_2.py", "order_of_models", [True, True]),
        ("quirks_2.py", "conflict_of_idempotency", "idempotency-mismatch"),
        ("quirks_js.mjs", "its_own_object_as_input", [422, False]),
        ("quirks_js.mjs", "cut_connections", ["ONCE", 3, 1]),
        ("quirks_js.mjs", "throttled_reads", [429, True]),
        ("quirks_js.mjs", "rows_before_the_end", ["A0", 11, "LAST"]),
        ("quirks_js.mjs", "partial_output_in_progress", [11, [None, 8, 11]]),
        ("quirks_js.mjs", "dropped_option", "HELLO"),
        ("quirks_js.mjs", "progress", ["starting", "processing", "succeeded"]),
    ],
)
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
