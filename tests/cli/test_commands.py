import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from cli.__main__ import headrace

VERSION = "a1" * 32


def every_command(group: click.Group = headrace, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), list(every_command()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_json_and_a_help_with_an_example(
    headrace_command: Callable[..., Result], path: tuple[str, ...], command: click.Command
) -> None:
    assert any("--json" in parameter.opts for parameter in command.params)
    assert f"Example: headrace {' '.join(path)}" in (command.help or "")
    result = headrace_command(*path, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("path", [(), ("jobs",), ("models",), ("keys",)])
def test_lists_of_commands_have_whole_sentences(headrace_command: Callable[..., Result], path: tuple[str, ...]) -> None:
    words = " ".join(headrace_command(*path, "--help").stdout.split())
    group = headrace if not path else headrace.commands[path[0]]
    assert isinstance(group, click.Group)
    for command in group.commands.values():
        assert (command.help or "").partition("\n")[0] in words


def test_the_bare_command_shows_its_help(headrace_command: Callable[..., Result]) -> None:
    result = headrace_command()
    assert "Commands:" in result.output
    assert "demo" in result.output


def test_an_unknown_setting_is_one_sentence(
    headrace_command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_COLOUR", "red")
    result = headrace_command("models", "list")
    assert result.exit_code == 1
    assert result.stderr == "Error: The environment variable HEADRACE_COLOUR is not a setting of Headrace.\n"


def test_without_a_server_every_command_says_how_to_get_one(headrace_command: Callable[..., Result]) -> None:
    for arguments in (("models", "list"), ("jobs", "list"), ("datasets", "list"), ("jobs", "show", "a1")):
        result = headrace_command(*arguments)
        assert result.exit_code == 1
        assert "start one with `headrace up`" in result.stderr
        assert result.stderr.count("\n") == 1


def test_jobs_are_listed_with_filters_over_several_pages(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    job = {"id": "a1", "kind": "training", "status": "failed", "created_at": "2026-01-02T03:04:05.000000Z"}
    server.answer_in_turn(
        reply({"results": [job], "next": f"{server.url}/v1/jobs?cursor=x"}), reply({"results": [job], "next": None})
    )
    result = against_server("jobs", "list", "--kind", "training", "--status", "failed", "--json")
    assert [entry["id"] for entry in json.loads(result.stdout)] == ["a1", "a1"]
    assert server.requests[0].path == "/v1/jobs?kind=training&status=failed&limit=20"
    assert "a1  training  failed" in against_server("jobs", "list").stdout


def test_watching_a_job_that_fails_ends_with_1_and_its_error(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    job = {"id": "a1", "kind": "training", "status": "processing", "created_at": "2026-01-02T03:04:05.000000Z"}
    progress = {"epoch": 2, "epochs": 5, "loss": 0.25, "accuracy": 0.5, "eta_seconds": 12.0}
    server.answer_in_turn(
        reply(job),
        reply({"detail": "As many streams are open as the server can hold."}, 503),
        reply({**job, "progress": progress}),
        reply({**job, "status": "failed", "error": "E1701: no"}),
    )
    result = against_server("jobs", "watch", "a1")
    assert result.exit_code == 1
    assert "training: epoch 2/5  loss 0.25  accuracy 0.5  12 s left" in result.stderr
    assert result.stderr.endswith("Error: The job a1 has failed: E1701: no\n")


def test_watching_goes_by_the_jobs_events_and_on_after_a_lost_connection(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    job = {"id": "a1", "kind": "training", "status": "processing", "created_at": "2026-01-02T03:04:05.000000Z"}
    progress = {"epoch": 2, "epochs": 5, "loss": 0.25}
    first = b"event: progress\nid: 1-0\ndata: %s\n\n: hb\n\nevent: log\nid: 2-0\ndata: a line\n\n"
    streams = [first % json.dumps(progress).encode(), b'event: done\nid: 3-0\ndata: {"status":"succeeded"}\n\n']
    seen = []

    def answer(request: Any) -> Any:
        if "/events" not in request.path:
            return reply({**job, "status": "succeeded" if len(seen) > 1 else "processing"})
        seen.append(request.path)
        return reply(streams[len(seen) - 1], headers={"Content-Type": "text/event-stream"})

    server.answer = answer
    result = against_server("jobs", "watch", "a1")
    assert result.exit_code == 0, result.stderr
    assert "training: epoch 2/5  loss 0.25" in result.stderr
    assert seen == ["/v1/jobs/a1/events?last_event_id=", "/v1/jobs/a1/events?last_event_id=2-0"]


def test_a_job_is_shown_as_one_column_of_facts_with_their_units(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    job = {"id": "a1", "kind": "training", "status": "processing", "created_at": "2026-01-02T03:04:05.000000Z"}
    job |= {"metrics": {"predict_time": 1.25, "batch_rows": 3}, "progress": {"eta_seconds": 12.0}}
    server.answer_in_turn(reply(job))
    lines = against_server("jobs", "show", "a1").stdout.splitlines()
    facts = dict(line.split("  ", 1) for line in lines)
    assert facts["metrics"].strip() == "predict_time 1.25 s, batch_rows 3"
    assert facts["progress"].strip() == "eta_seconds 12 s"
    assert len({len(line) - len(line.split("  ", 1)[1].lstrip()) for line in lines}) == 1


def test_a_server_that_names_paths_is_heard_as_naming_commands(
    against_server: Callable[..., Result], server: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer_in_turn(reply({"detail": "There is no model me/cats; GET /v1/models lists them."}, 404))
    said = against_server("models", "show", "me/cats").stderr
    assert said == "Error: There is no model me/cats; `headrace models list` lists them.\n"
    monkeypatch.setenv("HEADRACE_CLIENT__URL", "localhost:8000")
    said = against_server("models", "list").stderr
    assert said == "Error: localhost:8000 is no address of a server: one begins with http:// or https://.\n"


def test_canceling_and_deleting_a_job(against_server: Callable[..., Result], server: Any, reply: Any) -> None:
    server.answer_in_turn(reply({"id": "a1", "status": "canceled"}), reply(status=204))
    assert "is canceled" in against_server("jobs", "cancel", "a1").stderr
    assert json.loads(against_server("jobs", "delete", "a1", "--json").stdout) == {"deleted": "a1"}
    assert [(request.method, request.path) for request in server.requests] == [
        ("POST", "/v1/jobs/a1/cancel"),
        ("DELETE", "/v1/jobs/a1"),
    ]


def test_a_training_is_asked_for_with_its_parameters(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    job = {"id": "a1", "status": "starting"}
    output = {"version": f"me/cats:{VERSION}", "metrics": {"accuracy": 0.91, "macro_f1": 0.9}}
    server.answer_in_turn(
        reply({"latest_version": {"id": "r" * 64}}),
        reply(job, 201),
        reply({**job, "status": "succeeded", "output": output}),
    )
    result = against_server(
        "train", "--dataset", "cats", "--destination", "me/cats", "--epochs", 3, "--set", "dropout=0.5", "--set", "x=y"
    )
    assert result.exit_code == 0, result.output
    request = server.requests[1]
    assert request.path == f"/v1/models/headrace/image-classifier/versions/{'r' * 64}/trainings"
    assert request.json() == {
        "destination": "me/cats",
        "input": {"dataset": "cats", "epochs": 3, "dropout": 0.5, "x": "y"},
    }
    assert "test accuracy  0.9100" in result.stdout
    assert f"models promote me/cats {VERSION[:12]}" in result.stderr


def test_a_folder_is_sent_as_a_zip_without_hidden_files(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "pets"
    for name in ("cat/1.png", "dog/2.png", ".git/config", "cat/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    report = {"name": "pets", "digest": "d" * 64, "classes": {"cat": 1, "dog": 1}, "splits": {"train": 2}}
    report["unreadable"] = [{"file": "cat/9.png", "reason": "truncated"}]
    server.answer_in_turn(reply({"username": "me"}), reply({"id": "a1", "status": "succeeded", "output": report}, 201))
    result = against_server("datasets", "push", folder, "--name", "pets", "--splits", "0.5,0.25,0.25", "--seed", 7)
    assert result.exit_code == 0, result.output
    body = server.requests[1].body
    assert b'name="splits"\r\n\r\n{"train": 0.5, "validation": 0.25, "test": 0.25}' in body
    assert b'name="seed"\r\n\r\n7\r\n' in body
    start = body.index(b"PK\x03\x04")
    with zipfile.ZipFile(io.BytesIO(body[start : body.rindex(b"\r\n--")])) as archive:
        assert archive.namelist() == ["cat/1.png", "dog/2.png"]
    assert "Left out: cat/9.png: truncated" in result.stderr


def test_files_whose_names_no_archive_may_hold_are_left_out_and_listed(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "my\npets"  # the name of the folder itself is not sent
    unfit = [os.fsencode(name) for name in ("cat/\n1.png", "cat/\x7f.png", "dog\\1.png", "c:at/1.png")]
    for name in (b"cat/1.png", b"dog/caf\xc3\xa9.png", b"cat/\xff.png", *unfit):
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
    report = {"name": "pets", "digest": "d" * 64, "classes": {"cat": 1, "dog": 1}, "splits": {"train": 2}}
    server.answer_in_turn(reply({"username": "me"}), reply({"id": "a1", "status": "succeeded", "output": report}, 201))
    result = against_server("datasets", "push", folder, "--name", "pets", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "Left out: 'c:at/1.png': its name would be another place in an archive",
        "Left out: 'cat/\\n1.png': its name has control characters",
        "Left out: 'cat/\\x7f.png': its name has control characters",
        "Left out: 'cat/\\udcff.png': its name is no UTF-8 text",
        "Left out: 'dog\\\\1.png': its name would be another place in an archive",
    ]
    body = server.requests[1].body
    with zipfile.ZipFile(io.BytesIO(body[body.index(b"PK\x03\x04") : body.rindex(b"\r\n--")])) as archive:
        assert archive.namelist() == ["cat/1.png", "dog/café.png"]


def test_a_model_is_pushed_with_its_options_and_described(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    file = tmp_path / "cats.keras"
    file.write_bytes(b"keras")
    labels = tmp_path / "labels.txt"
    labels.write_text("cat, tame\ndog\n\n")
    signature = {
        "inputs": [{"name": "image", "kind": "image", "shape": [None, None, 3], "dtype": "uint8"}],
        "outputs": [{"name": "scores", "kind": "category", "shape": [2], "dtype": "float32"}],
    }
    output = {"id": VERSION, "version": f"me/cats:{VERSION}", "signature": signature, "labels": ["cat", "dog"]}
    output |= {"sample": {"label": "cat", "score": 0.75}, "warnings": ["It answers alike for every input."]}
    output |= {"parameters": {"expected_range": [0, 255]}}
    server.answer_in_turn(
        reply({"username": "me"}),
        reply({"id": "a1", "status": "succeeded", "output": output}, 201),
        reply({"alias": "candidate", "version": None, "pending": {"version": VERSION, "ready": [], "missing": ["w"]}}),
        reply({"alias": "candidate", "version": VERSION, "pending": None}),
    )
    result = against_server(
        "models", "push", file, "--name", "me/cats", "--labels-file", labels, "--scale", "1/255", "--alias", "candidate"
    )
    assert result.exit_code == 0, result.output
    body = server.requests[1].body
    assert b'name="labels"\r\n\r\n["cat, tame", "dog"]\r\n' in body
    assert b'name="scale"\r\n\r\n1/255\r\n' in body
    assert b'name="alias"\r\n\r\ncandidate\r\n' in body
    assert "input image" in result.stdout and "any × any × 3" in result.stdout
    facts = {name: value.strip() for name, value in (line.split("  ", 1) for line in result.stdout.splitlines())}
    assert (facts["expected range"], facts["labels"]) == ("0 to 255", "cat, dog")
    assert facts["sample answer"] == "cat, score 0.750"
    assert f"candidate of me/cats is {VERSION[:12]}." in result.stderr
    assert "Warning: It answers alike for every input." in result.stderr


def test_a_model_is_pushed_as_an_iterator_and_described_as_one(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    file = tmp_path / "cats.keras"
    file.write_bytes(b"keras")
    signature: dict[str, Any] = {"inputs": [], "outputs": [], "iterates": True}
    output = {"id": VERSION, "version": f"me/cats:{VERSION}", "signature": signature}
    output |= {"sample": [{"label": "cat", "score": 0.75}]}
    server.answer_in_turn(reply({"username": "me"}), reply({"id": "a1", "status": "succeeded", "output": output}, 201))
    result = against_server("models", "push", file, "--name", "me/cats", "--iterator")
    assert result.exit_code == 0, result.output
    assert b'name="iterator"\r\n\r\ntrue\r\n' in server.requests[1].body
    assert "row by row, as a list" in result.stdout and "cat, score 0.750" in result.stdout


def test_one_version_is_shown_in_words(against_server: Callable[..., Result], server: Any, reply: Any) -> None:
    signature = {"inputs": [{"name": "x", "kind": "tensor", "shape": [3], "dtype": "float32"}], "outputs": []}
    version = {"id": VERSION, "model": "me/cats", "created_at": "2026-01-02T03:04:05.000Z", "source": "training"}
    version |= {"metrics": {"accuracy": 0.91234}, "labels": ["cat", "dog"], "signature": signature, "dataset": "d" * 64}
    server.answer_in_turn(reply(version))
    shown = against_server("models", "show", f"me/cats:{VERSION}").stdout
    facts = {name: value.strip() for name, value in (line.split("  ", 1) for line in shown.splitlines())}
    assert (facts["version"], facts["labels"], facts["test accuracy"]) == (VERSION, "cat, dog", "0.9123")
    assert facts["input x"] == "tensor, 3, float32" and facts["data set"] == "d" * 64
    assert json.loads(against_server("models", "show", f"me/cats:{VERSION}", "--json").stdout) == version


def test_a_promotion_is_waited_for(against_server: Callable[..., Result], server: Any, reply: Any) -> None:
    pending = {"version": VERSION, "ready": [], "missing": ["w1"], "failed": None}
    server.answer_in_turn(
        reply({"alias": "production", "version": "old", "pending": pending}, 202),
        reply({"alias": "production", "version": "old", "pending": pending}),
        reply({"alias": "production", "version": VERSION, "pending": None}),
    )
    result = against_server("models", "promote", "me/cats", VERSION, "--reason", "better")
    assert result.exit_code == 0, result.output
    assert server.requests[0].json() == {"version": VERSION, "reason": "better"}
    assert f"production of me/cats is {VERSION[:12]}." in result.stderr


def test_a_promotion_that_no_worker_can_load_fails_with_the_reason(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    pending = {"version": VERSION, "ready": [], "missing": [], "failed": "E1201: broken"}
    server.answer_in_turn(reply({"alias": "production", "version": "old", "pending": pending}, 202))
    result = against_server("models", "promote", "me/cats", VERSION)
    assert result.exit_code == 1
    assert "production stays where it was: E1201: broken" in result.stderr


def test_a_whole_model_is_not_deleted_without_a_yes(
    against_server: Callable[..., Result], server: Any, reply: Any
) -> None:
    server.answer = lambda request: reply({}) if request.method == "GET" else reply(status=204)
    refused = against_server("models", "delete", "me/cats")
    assert refused.exit_code == 1
    assert "say so with --yes" in refused.stderr
    assert against_server("models", "delete", "me/cats", "--yes").exit_code == 0
    assert [(request.method, request.path) for request in server.requests] == [
        ("GET", "/v1/models/me/cats"),
        ("DELETE", "/v1/models/me/cats?force=true"),
    ]


def test_a_name_that_is_none_is_refused_before_anything_is_sent(
    against_server: Callable[..., Result], server: Any, tmp_path: Path
) -> None:
    result = against_server("models", "show", "cats")
    assert result.exit_code == 1
    assert "A model is named owner/name" in result.stderr
    assert server.requests == []
