import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from click.testing import Result

from shared.webhooks.signing import new_secret, signed_headers

SECRET = new_secret()
JOB = {"id": "a1", "kind": "prediction", "status": "succeeded"}
ENTRY = {
    "event": "completed", "webhook_id": "msg_1", "attempt": 1, "at": "2026-01-02T03:04:05.000000Z", "outcome": "failed",
    "status": 500, "error": "The receiver answered 500.", "seconds": 0.25, "reply": "no",
    "next_attempt_at": "2026-01-02T03:04:10.000000Z",
}  # fmt: skip


@pytest.fixture
def deliver(server: Any, reply: Any) -> Callable[..., list[int]]:
    """Makes the server send webhooks to whoever registers, and returns what these were answered."""

    def begin(*keys: str) -> list[int]:
        answered: list[int] = []

        def send(address: str) -> None:
            for key in keys:
                body = json.dumps(JOB).encode()
                headers = signed_headers([key], "msg_1", body)
                answered.append(requests.post(f"http://{address}/", data=body, headers=headers, timeout=5).status_code)

        def answer(request: Any) -> Any:
            if request.path.endswith("/secret"):
                return reply({"key": SECRET, "old": []})
            if request.method == "DELETE":
                return reply(status=204)
            threading.Thread(target=send, args=(request.json()["address"],), daemon=True).start()
            return reply({"address": request.json()["address"], "expires_at": "2026-01-02T03:04:05Z"}, 201)

        server.answer = answer
        return answered

    return begin


def test_listen_registers_shows_what_comes_verifies_it_and_ends_its_registration(
    against_server: Callable[..., Result], server: Any, deliver: Any, eventually: Callable[..., object]
) -> None:
    answered = deliver(SECRET)
    result = against_server("webhooks", "listen", "--count", 1, "--status", 202)
    assert result.exit_code == 0, result.output
    assert "msg_1  prediction a1 succeeded  the signature is right" in result.stdout
    eventually(lambda: answered == [202])
    registered, ended = server.requests[1], server.requests[-1]
    address = registered.json()["address"]
    assert address.startswith("127.0.0.1:") and f"http://{address}/" in result.stderr
    assert (ended.method, ended.path) == ("DELETE", f"/v1/webhooks/listeners/{address}")


def test_listen_says_what_is_not_to_be_trusted_and_ends_with_1(
    against_server: Callable[..., Result], deliver: Any
) -> None:
    deliver(new_secret(), SECRET)
    result = against_server("webhooks", "listen", "--count", 2, "--json")
    assert result.exit_code == 1
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["verified"], second["verified"]) == (False, True) and second["body"] == JOB
    assert "No signature fits" in first["problem"] and "1 of 2 were not to be trusted" in result.stderr


def test_listen_gives_up_after_its_time(against_server: Callable[..., Result], deliver: Any) -> None:
    deliver()
    result = against_server("webhooks", "listen", "--count", 1, "--seconds", 0.3)
    assert result.exit_code == 1 and "Only 0 of 1 came within 0.3 s" in result.stderr


def test_listen_whose_key_may_not_register_says_so(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    server.answer_in_turn(reply({"key": SECRET, "old": []}), reply({"detail": "The key lacks the scope admin."}, 403))
    result = against_server("webhooks", "listen")
    assert result.exit_code == 1 and result.stderr.endswith("Error: The key lacks the scope admin.\n")


def test_a_test_message_that_does_not_arrive_ends_with_1(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    result = {"id": "a2", "url": "https://example.org", "delivered": False, "attempt": ENTRY}
    server.answer_in_turn(reply(result))
    failed = against_server("webhooks", "test", "https://example.org")
    assert failed.exit_code == 1 and "was not delivered: The receiver answered 500." in failed.stderr
    assert server.requests[0].json() == {"url": "https://example.org"}
    server.answer_in_turn(reply({**result, "delivered": True}))
    assert against_server("webhooks", "test", "https://example.org").exit_code == 0


def test_the_secret_is_printed_alone_so_that_a_script_can_take_it(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    old = {"key": "whsec_old", "expires_at": "2026-01-02T03:04:05Z"}
    server.answer_in_turn(reply({"key": SECRET, "old": [old]}))
    for command in ("secret", "rotate"):
        result = against_server("webhooks", command)
        assert result.stdout == f"{SECRET}\n" and "an old one signs until" in result.stderr
    against_server("webhooks", "rotate", "--overlap", 0)
    assert server.requests[-1].json() == {"overlap_seconds": 0.0}


def test_deliveries_dead_letters_and_sending_again(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    log = {"results": [ENTRY], "webhook": "https://example.org", "webhook_events_filter": ["completed"]}
    letter = {"job_id": "a1", "event": "completed", "webhook": "https://example.org", "last_attempt": ENTRY}
    letter["given_up_at"] = "2026-01-02T03:04:05Z"
    server.answer_in_turn(
        reply(log), reply({"results": [letter]}), reply({"event": "start", "webhook_id": "msg_2"}, 202),
        reply({"replayed": 3}),
    )  # fmt: skip
    assert "completed  1        failed   500     0.250" in against_server("webhooks", "deliveries", "a1").stdout
    assert "a1   completed  https://example.org" in against_server("webhooks", "dead").stdout
    assert "msg_2 goes out again" in against_server("webhooks", "redeliver", "a1", "--event", "start").stderr
    assert json.loads(against_server("webhooks", "replay", "a1", "a2", "--json").stdout) == {"replayed": 3}
    assert [(request.method, request.path) for request in server.requests] == [
        ("GET", "/v1/jobs/a1/webhook-deliveries"),
        ("GET", "/v1/webhooks/dead-letters?limit=20"),
        ("POST", "/v1/jobs/a1/webhook-deliveries/redeliver"),
        ("POST", "/v1/webhooks/dead-letters/replay"),
    ]
    assert server.requests[2].json() == {"event": "start"} and server.requests[3].json() == {"jobs": ["a1", "a2"]}
