from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, RequestRefused
from cli.data_folder import DataFolder
from cli.terminal import Failure


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(server: Any, pauses: list[float]) -> Client:
    return Client(server.url + "/v1", "hr_secret", pause=pauses.append)


def test_the_key_travels_as_bearer_and_the_url_may_end_with_v1(server: Any, client: Client, reply: Any) -> None:
    server.answer = lambda request: reply({"ok": True})
    assert client.get("/v1/account") == {"ok": True}
    assert server.requests[0].path == "/v1/account"
    assert server.requests[0].headers["authorization"] == "Bearer hr_secret"


def test_a_get_is_repeated_while_the_server_is_away(
    server: Any, client: Client, pauses: list[float], reply: Any
) -> None:
    server.answer_in_turn(reply(status=503), reply(status=502), reply({"id": "a1"}))
    assert client.get("/v1/jobs/a1") == {"id": "a1"}
    assert len(pauses) == 2


def test_a_plain_post_is_not_repeated_after_an_error_of_the_server(server: Any, client: Client, reply: Any) -> None:
    server.answer_in_turn(reply({"detail": "Redis does not answer."}, 503))
    with pytest.raises(RequestRefused, match=r"Redis does not answer\."):
        client.post("/v1/jobs/a1/cancel")
    assert len(server.requests) == 1


def test_a_job_is_created_with_one_idempotency_key_however_often_it_is_sent(
    server: Any, client: Client, pauses: list[float], reply: Any
) -> None:
    server.answer_in_turn(
        reply({"detail": "full"}, 429, {"Retry-After": "7"}), reply(status=503), reply({"id": "a1"}, 201)
    )
    assert client.create_job("/v1/predictions", {"input": {}}, wait_seconds=3) == {"id": "a1"}
    assert pauses[0] == 7
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert {request.headers["prefer"] for request in server.requests} == {"wait=3"}


def test_a_full_queue_is_waited_for_no_longer_than_told(server: Any, client: Client, reply: Any) -> None:
    server.answer_in_turn(reply({"detail": "The queue is full."}, 429, {"Retry-After": "1"}))
    with pytest.raises(RequestRefused, match="The queue is full"):
        client.create_job("/v1/predictions", {}, patience_seconds=0)


def test_what_the_server_says_becomes_one_sentence(server: Any, client: Client, reply: Any) -> None:
    server.answer_in_turn(reply({"title": "Not found", "detail": "There is no model a/b."}, 404))
    with pytest.raises(RequestRefused) as caught:
        client.get("/v1/models/a/b")
    assert caught.value.message == "There is no model a/b."
    assert caught.value.status == 404


def test_a_server_that_is_not_there_is_named_with_what_to_do(pauses: list[float]) -> None:
    with pytest.raises(Failure, match=r"No server answers at http://127\.0\.0\.1:9; `headrace up` starts one"):
        Client("http://127.0.0.1:9", "k").get("/v1/account")


def test_pages_follow_next_by_its_path_alone(server: Any, client: Client, reply: Any) -> None:
    server.answer_in_turn(
        reply({"results": [1, 2], "next": "https://elsewhere.example/v1/jobs?cursor=abc"}),
        reply({"results": [3, 4], "next": None}),
    )
    assert client.pages("/v1/jobs", 3, status="failed") == [1, 2, 3]
    assert [request.path for request in server.requests] == ["/v1/jobs?status=failed", "/v1/jobs?cursor=abc"]


def test_follow_ends_with_the_job(server: Any, client: Client, reply: Any) -> None:
    server.answer_in_turn(
        reply({"id": "a1", "status": "starting"}),
        reply({"id": "a1", "status": "processing"}),
        reply({"id": "a1", "status": "canceled"}),
    )
    assert [job["status"] for job in client.follow("a1")] == ["starting", "processing", "canceled"]


def test_an_upload_is_a_multipart_body_with_a_length(server: Any, client: Client, reply: Any, tmp_path: Path) -> None:
    file = tmp_path / 'a"b.npz'
    file.write_bytes(b"x" * 3_000_000)
    server.answer = lambda request: reply({"id": "a1"}, 201)
    sent: list[int] = []
    assert client.upload("/v1/datasets", {"name": "digits"}, file, sent.append) == {"id": "a1"}
    request = server.requests[0]
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert int(request.headers["content-length"]) == len(request.body)
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    parts = request.body.split(b"--" + boundary)
    assert b'name="name"\r\n\r\ndigits\r\n' in parts[1]
    assert b'name="file"; filename="a_b.npz"' in parts[2]
    assert parts[2].endswith(b"x" * 3_000_000 + b"\r\n")
    assert parts[3] == b"--\r\n"
    assert sum(sent) >= 3_000_000


def test_the_key_of_a_folder_goes_to_the_server_of_that_folder_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    folder.address.write_text("http://127.0.0.1:8123\n")
    folder.api_key.write_text("hr_local\n")
    assert Client.of_folder(tmp_path).url == "http://127.0.0.1:8123"
    monkeypatch.setenv("HEADRACE_CLIENT__URL", "https://models.example.org")
    with pytest.raises(Failure, match=r"Set HEADRACE_CLIENT__API_KEY to a key for https://models\.example\.org"):
        Client.of_folder(tmp_path)


def test_a_folder_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="start one with `headrace up`"):
        Client.of_folder(tmp_path)


def test_no_proxy_stands_between_two_processes_of_one_machine(
    server: Any, client: Client, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answer = lambda request: reply({"ok": True})
    assert client.get("/v1/account") == {"ok": True}


def test_a_netrc_file_does_not_replace_the_key(
    server: Any, client: Client, reply: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client._session.trust_env = True
    server.answer = lambda request: reply({})
    client.get("/v1/account")
    assert server.requests[0].headers["authorization"] == "Bearer hr_secret"
