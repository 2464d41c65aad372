import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

CONTENT = {"bytes": "of a file"}
SHA256 = hashlib.sha256(json.dumps(CONTENT).encode()).hexdigest()


def described(server: Any, **facts: Any) -> dict[str, Any]:
    return {
        "id": "f1",
        "name": "cat.png",
        "content_type": "image/png",
        "size": 3,
        "checksums": {"sha256": SHA256},
        "metadata": {},
        "created_at": "2026-01-02T03:04:05.000000Z",
        "expires_at": "2026-01-03T03:04:05.000000Z",
        "urls": {"get": "https://elsewhere/v1/files/f1", "download": "https://elsewhere/v1/files/f1/download?owner=a"},
        **facts,
    }


def test_files_are_pushed_in_the_part_that_the_contract_names(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"png")
    server.answer_in_turn(reply({"account": "ada"}), reply(described(server), 201))
    result = against_server("files", "push", str(path))
    assert (result.exit_code, "https://elsewhere/v1/files/f1" in result.stdout) == (0, True)
    assert server.requests[1].path == "/v1/files"
    assert b'name="content"; filename="cat.png"' in server.requests[1].body


def test_files_are_listed_shown_and_deleted(against_server: Callable[..., Result], server: Any, reply: Any) -> None:
    server.answer_in_turn(
        reply({"results": [described(server)], "next": None}), reply(described(server)), reply(None, 204)
    )
    assert "f1  cat.png  image/png  3" in against_server("files", "list").stdout
    assert SHA256 in against_server("files", "show", "f1").stdout
    assert json.loads(against_server("files", "delete", "f1", "--json").stdout) == {"deleted": "f1"}


def test_a_file_is_downloaded_from_this_server_whatever_it_calls_itself(
    against_server: Callable[..., Result],
    server: Any,
    reply: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    server.answer_in_turn(reply(described(server, name="../cat.png")), reply(CONTENT))
    assert against_server("files", "download", "f1").exit_code == 0
    assert server.requests[1].path == "/v1/files/f1/download?owner=a"
    assert json.loads((tmp_path / "cat.png").read_text()) == CONTENT
    server.answer_in_turn(reply(described(server)))
    assert "--out" in against_server("files", "download", "f1").stderr


def test_what_came_damaged_is_no_file(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    server.answer_in_turn(reply(described(server)), reply({"other": 1}))
    result = against_server("files", "download", "f1", "--out", str(tmp_path / "cat.png"))
    assert result.exit_code == 1 and "not what was uploaded" in result.stderr
    assert list(tmp_path.glob("cat*")) == []


def test_a_job_is_shown_with_an_output_that_was_too_large_for_its_reply(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    file = {"url": "https://elsewhere/v1/jobs/a1/output?token=t", "size": 3}
    job = {"id": "a1", "kind": "prediction", "status": "succeeded", "created_at": None, "output": file["url"]}
    server.answer_in_turn(reply({**job, "output_file": file}), reply([1, 2]))
    assert json.loads(against_server("jobs", "show", "a1", "--json").stdout)["output"] == [1, 2]
    assert server.requests[1].path == "/v1/jobs/a1/output?token=t"
