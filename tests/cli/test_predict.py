import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli.answers import COLUMNS, AnswerFile
from cli.in_flight import in_flight
from cli.inputs import find_files

VERSION = "5" * 64
PNG = b"\x89PNG not really"


def model(**properties: Any) -> dict[str, Any]:
    fields = properties or {"image": {"x-order": 0}, "top_k": {"x-order": 1}}
    schema = {"components": {"schemas": {"Input": {"properties": fields}}}}
    return {"latest_version": {"id": VERSION, "openapi_schema": schema}}


def answered(label: str, **more: Any) -> dict[str, Any]:
    return {"id": f"a-{label}", "status": "succeeded", "output": {"label": label, "score": 0.5}, **more}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "inner/c.webp"):
        (folder / name).write_bytes(PNG)
    (folder / "notes.md").write_text("no input")
    return folder


@pytest.fixture
def predictions(server: Any, reply: Any) -> list[Any]:
    """Answers predictions with the type of their content; keeps their requests."""
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        if request.method == "GET":
            return reply(model())
        asked.append(request)
        return reply(answered(request.headers["content-type"]), 201)

    server.answer = answer
    return asked


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_of_a_folder_is_one_job_with_a_raw_body(
    against_server: Callable[..., Result], predictions: list[Any], pictures: Path
) -> None:
    result = against_server("predict", pictures, "--model", "me/cats", "--top-k", 2, "--json")
    assert result.exit_code == 0, result.output
    assert {request.path for request in predictions} == {"/v1/models/me/cats/predictions?top_k=2"}
    assert all(request.body == PNG and "wait=" in request.headers["prefer"] for request in predictions)
    summary = json.loads(result.stdout)
    assert (summary["succeeded"], summary["failed"], summary["skipped"]) == (3, [], 0)
    assert [answer["output"]["label"] for answer in summary["answers"]] == ["image/png", "image/jpeg", "image/webp"]


def test_the_answer_of_a_model_that_iterates_is_the_one_row_in_its_list(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path, tmp_path: Path
) -> None:
    made = answered("cat", output=[{"label": "cat", "score": 0.5}])
    server.answer = lambda request: reply(model()) if request.method == "GET" else reply(made, 201)
    result = against_server("predict", pictures / "a.png", "--model", "me/cats", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    (row,) = rows_of(tmp_path / "out.csv")
    assert (row["label"], row["score"], json.loads(row["output"])) == ("cat", "0.5", made["output"])


def test_the_version_that_serves_says_what_the_input_is_called_not_the_newest(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    serving = "7" * 64
    newest = {**model(words={}), "aliases": {"production": serving}}
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        if request.method == "GET":
            is_version = request.path == f"/v1/models/me/cats/versions/{serving}"
            return reply(model(text={})["latest_version"] if is_version else newest)
        asked.append(request.json())
        return reply(answered("cat"), 201)

    server.answer = answer
    (tmp_path / "a.txt").write_text("hello")
    result = against_server("predict", tmp_path / "a.txt", "--model", "me/cats", "--json")
    assert result.exit_code == 0, result.output
    assert asked == [{"input": {"text": "hello"}}]


def test_an_answer_file_is_gone_on_with_and_failures_are_tried_again(
    against_server: Callable[..., Result], predictions: list[Any], pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.csv"
    (pictures / "a.png").write_bytes(b"")
    first = against_server("predict", pictures, "--model", "me/cats", "--out", out)
    assert first.exit_code == 1
    assert f"{pictures / 'a.png'}: is empty" in first.stderr
    assert [row["status"] for row in rows_of(out)].count("failed") == 1
    assert len(predictions) == 2

    (pictures / "a.png").write_bytes(PNG)
    second = against_server("predict", pictures, "--model", "me/cats", "--out", out)
    assert second.exit_code == 0, second.output
    assert len(predictions) == 3
    rows = rows_of(out)
    assert sorted(row["file"] for row in rows) == sorted(map(str, find_files([pictures])))
    assert {row["status"] for row in rows} == {"succeeded"}
    assert rows[0]["label"].startswith("image/")
    assert "1 answered, 0 failed, 2 answered earlier" in second.stderr


def test_a_row_that_a_crash_has_cut_is_asked_about_again(tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    out.write_text(",".join(COLUMNS) + "\na.png,id,succeeded,cat,0.5,{},\nb.png,id,succ")
    answers = AnswerFile(out)
    answers.close()
    assert answers.done == {"a.png"}
    assert [row["file"] for row in rows_of(out)] == ["a.png"]


def test_a_file_that_is_no_file_of_answers_is_left_alone(
    against_server: Callable[..., Result], predictions: list[Any], pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "precious.csv"
    out.write_text("name,age\nAda,36\n")
    result = against_server("predict", pictures, "--model", "me/cats", "--out", out)
    assert result.exit_code == 1
    assert "is no file of answers; name another with --out" in result.stderr
    assert out.read_text() == "name,age\nAda,36\n"


def test_a_full_queue_is_waited_for(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path
) -> None:
    busy = [True, True]

    def answer(request: Any) -> Any:
        if request.method == "GET":
            return reply(model())
        if busy:
            busy.pop()
            return reply({"detail": "full"}, 429, {"Retry-After": "0.1"})
        return reply(answered("cat"), 201)

    server.answer = answer
    result = against_server("predict", pictures, "--model", "me/cats", "--in-flight", 1)
    assert result.exit_code == 0, result.output


def test_a_job_that_is_not_done_in_time_is_followed(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path
) -> None:
    def answer(request: Any) -> Any:
        if request.path.startswith("/v1/jobs/"):
            return reply(answered("cat"))
        return reply(model()) if request.method == "GET" else reply({"id": "a1", "status": "starting"}, 201)

    server.answer = answer
    result = against_server("predict", pictures / "a.png", "--model", "me/cats")
    assert result.exit_code == 0, result.output
    assert "cat" in result.stdout


def test_a_failed_job_is_listed_with_its_error(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path
) -> None:
    failed = {"id": "a1", "status": "failed", "output": None, "error": "E1003: the image is truncated"}
    server.answer = lambda request: reply(model()) if request.method == "GET" else reply(failed, 201)
    result = against_server("predict", pictures / "a.png", "--model", "me/cats")
    assert result.exit_code == 1
    assert "a.png: E1003: the image is truncated" in result.stderr


def test_a_wrong_key_ends_it_at_once(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path
) -> None:
    refused = reply({"detail": "The key lacks the scope predictions:write."}, 403)
    server.answer = lambda request: reply(model()) if request.method == "GET" else refused
    result = against_server("predict", pictures, "--model", "me/cats", "--in-flight", 1)
    assert result.exit_code == 1
    assert result.stderr == "Error: The key lacks the scope predictions:write.\n"
    assert len([request for request in server.requests if request.method == "POST"]) == 1


def test_other_files_travel_as_json(
    against_server: Callable[..., Result], server: Any, reply: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("lovely")
    (tmp_path / "b.json").write_text('{"text": "awful"}')
    (tmp_path / "c.gif").write_bytes(b"GIF")
    (tmp_path / "d.json").write_text("[1]")
    shown = model(priority={"x-order": 0}, text={"x-order": 1})
    server.answer = lambda request: reply(shown) if request.method == "GET" else reply(answered("good"), 201)
    result = against_server("predict", tmp_path, "--model", "me/mood", "--threshold", "0.5", "--json")
    posts = [request.json()["input"] for request in server.requests if request.method == "POST"]
    assert sorted(posts, key=str) == [
        {"text": "awful", "threshold": 0.5},
        {"text": "data:image/gif;base64,R0lG", "threshold": 0.5},
        {"text": "lovely", "threshold": 0.5},
    ]
    assert result.exit_code == 1
    assert "holds no JSON object" in json.loads(result.stdout)["failed"][0]["error"]


def test_a_version_is_found_by_its_first_digits(
    against_server: Callable[..., Result], server: Any, reply: Any, pictures: Path
) -> None:
    def answer(request: Any) -> Any:
        if request.path.endswith("/versions"):
            return reply({"results": [{"id": VERSION}, {"id": "6" * 64}], "next": None})
        return reply(model()["latest_version"]) if request.method == "GET" else reply(answered("cat"), 201)

    server.answer = answer
    result = against_server("predict", pictures / "a.png", "--model", "me/cats:555")
    assert result.exit_code == 0, result.output
    body = server.requests[-1].json()
    assert server.requests[-1].path == "/v1/predictions"
    assert body["version"] == VERSION
    assert body["input"]["image"].startswith("data:image/png;base64,")
    none = against_server("predict", pictures / "a.png", "--model", "me/cats:9")
    assert "No versions of me/cats begin with '9'" in none.stderr


def test_never_more_run_at_once_than_told_and_every_item_is_answered() -> None:
    import threading

    lock, now, most = threading.Lock(), [0], [0]
    gate = threading.Semaphore(0)

    def work(item: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 3:
                gate.release(100)
        assert gate.acquire(timeout=10)
        with lock:
            now[0] -= 1
        return item * item

    assert dict(in_flight(work, range(20), 3)) == {item: item * item for item in range(20)}
    assert most[0] == 3


def test_an_error_of_one_item_is_raised_and_ends_the_rest() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        list(in_flight(work, range(1000), 1))
