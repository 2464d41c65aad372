import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.chaos.checker import check
from benchmarks.chaos.commands import DIE, PLAIN, RAISE, SLOW

Line = dict[str, Any]
VERSION = "v2"
CREATED, DEADLINE = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
T0 = 1_767_225_600.0


def accepted(id_: str = "j1", **facts: Any) -> Line:
    line = {
        "at": T0, "what": "accepted", "id": id_, "key": f"key of {id_}", "kind": "prediction", "values": [7],
        "command": PLAIN, "version": VERSION, "rows": 1, "created": CREATED, "until": DEADLINE, "webhook": True,
        "events": ["completed"],
    }  # fmt: skip
    return line | facts


def saw(status: str, id_: str = "j1", at: float = 1.0, **facts: Any) -> Line:
    output = {"y": [14.0]} if status == "succeeded" else None
    line = {"at": T0 + at, "what": "saw", "id": id_, "status": status, "attempt": 1, "output": output, "code": None}
    line["asked"] = T0 + at - 0.01
    return line | facts


def hook(status: str = "succeeded", id_: str = "j1", **facts: Any) -> Line:
    line = {"at": T0 + 2, "what": "hook", "id": id_, "hook": "msg_1", "status": status, "signed": True, "fate": "ok"}
    line["output"] = {"y": [14.0]} if status == "succeeded" else None
    return line | facts


def events(*statuses: str, over: bool = False) -> Line:
    return {"at": T0 + 3, "what": "events", "id": "j1", "statuses": list(statuses), "over": over}


def verdict(*lines: Line, computed: list[tuple[float, int, int]] | None = None, **final: Any) -> list[str]:
    state = {"listed": [line["id"] for line in lines if line["what"] == "accepted"], "state": [], "late": []} | final
    return check(lines, {VERSION: 2.0}, computed or [], state)


def data_url(output: Any) -> str:
    return "data:application/json;base64," + base64.b64encode(json.dumps(output).encode()).decode()


DELETED = {"at": T0 + 3, "what": "deleted", "id": "j1"}
SOUND: list[Line] = [accepted(), saw("starting", at=0), saw("processing"), saw("succeeded", at=2), hook()]


def test_a_sound_history_is_found_sound() -> None:
    assert verdict(*SOUND) == []


@pytest.mark.parametrize(
    ("facts", "sight"),
    [
        ({"command": RAISE}, saw("failed", code="E1101")),
        ({"command": DIE}, saw("failed", code="E1301")),
        ({"deadline": 5}, saw("canceled", code="E1401")),
    ],
)
def test_what_was_asked_for_is_no_violation(facts: Line, sight: Line) -> None:
    assert verdict(accepted(webhook=False, **facts), sight) == []


def test_a_large_output_is_opened() -> None:
    assert verdict(accepted(webhook=False), saw("succeeded", output=data_url({"y": [14.0]}))) == []


def test_a_late_reply_of_an_earlier_reading_is_no_violation() -> None:
    assert verdict(*SOUND, saw("processing", at=10, asked=T0 + 1.9)) == []


def test_a_job_that_went_back_to_wait_is_no_violation() -> None:
    assert verdict(accepted(webhook=False), saw("processing"), saw("starting", at=2), saw("succeeded", at=3)) == []


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("never ended", lambda: [accepted(webhook=False), saw("processing")]),
        ("more than one way", lambda: [*SOUND, saw("failed", at=3, code="E1101")]),
        ("more than one way", lambda: [*SOUND, saw("succeeded", at=3, output={"y": [16.0]})]),
        ("answered", lambda: [accepted(webhook=False), saw("succeeded", output={"y": [16.0]})]),
        ("answered", lambda: [accepted(webhook=False), saw("succeeded", output={"y": [14.0, 14.0]})]),
        ("failed with E1101", lambda: [accepted(webhook=False), saw("failed", code="E1101")]),
        ("failed with E1301", lambda: [accepted(webhook=False, command=SLOW), saw("failed", code="E1301")]),
        ("canceled though nobody asked", lambda: [accepted(webhook=False), saw("canceled", code="E1403")]),
        ("without a deadline", lambda: [accepted(webhook=False), saw("canceled", code="E1401")]),
        ("never arrived", lambda: [*SOUND[:-1], hook(fate="500")]),
        ("never arrived", lambda: SOUND[:-1]),
        ("2 webhook ids", lambda: [*SOUND, hook(hook="msg_2")]),
        ("not signed", lambda: [*SOUND[:-1], hook(signed=False)]),
        ("a webhook told of", lambda: [*SOUND[:-1], hook("failed")]),
        ("nobody asked for", lambda: [accepted(webhook=False), saw("succeeded"), hook()]),
        ("answered", lambda: [accepted(webhook=False), saw("succeeded", output=data_url({"y": [16.0]}))]),
        ("was processing again", lambda: [*SOUND, saw("processing", at=2.5)]),
        ("before it had ended", lambda: [hook(at=T0 + 1), saw("processing", at=1.5), *SOUND[:-1]]),
        ("a webhook answered", lambda: [*SOUND[:-1], hook(output={"y": [16.0]})]),
        ("went on after the end", lambda: [*SOUND, events("succeeded", "processing")]),
        ("a stream ended with", lambda: [*SOUND, events("starting", "failed", over=True)]),
        ("a stream ended with", lambda: [*SOUND, events("starting", over=True)]),
        ("failed with E1402", lambda: [accepted(webhook=False), saw("failed", code="E1402")]),
        ("went from canceled to succeeded", lambda: [saw("canceled", at=1, code="E1403"), *SOUND]),
        (
            "after its deletion",
            lambda: [*SOUND, {"at": T0 + 3, "what": "deleted", "id": "j1"}, saw("succeeded", at=4)],
        ),
        ("made 2 jobs", lambda: [*SOUND, accepted("j2", key="key of j1", webhook=False), saw("succeeded", "j2")]),
    ],
)
def test_what_is_broken_is_found(name: str, broken: Callable[[], list[Line]]) -> None:
    assert any(name in sentence for sentence in verdict(*broken()))


def test_work_begun_after_its_deadline_is_found() -> None:
    late = accepted(webhook=False, deadline=5, until="2026-01-01T00:00:05Z")
    expired = [late, saw("canceled", at=6, code="E1401")]

    assert verdict(*expired, computed=[(T0 + 4.9, 1, 7)]) == []
    assert any("after its deadline" in sentence for sentence in verdict(*expired, computed=[(T0 + 7.0, 1, 7)]))


def test_work_begun_late_by_a_process_that_was_stopped_is_excused() -> None:
    late = accepted(webhook=False, deadline=5, until="2026-01-01T00:00:05Z")
    stop = {"at": T0 + 4, "what": "fault", "name": "stopped past the lease", "pid": 1, "seconds": 4.0}
    expired = saw("canceled", at=9, code="E1401")

    assert verdict(late, stop, expired, computed=[(T0 + 8.1, 1, 7)]) == []
    assert verdict(late, stop, expired, computed=[(T0 + 8.1, 2, 7)]) != [], "another process was not stopped"


def test_a_job_that_no_listing_shows_is_found() -> None:
    assert any("missing in the listing" in sentence for sentence in verdict(*SOUND, listed=[]))


def test_an_account_with_more_open_than_it_may_have_is_found() -> None:
    sums = [{"at": T0, "what": "sum", "account": "ada", "of": "rows", "sum": count} for count in (400, 401)]
    state: Line = {"listed": ["j1"], "state": [], "late": []}
    found = check([*SOUND, *sums], {VERSION: 2.0}, [], state, {"rows": 400, "bytes": 10})
    assert found == ["ada had 401 rows open, more than the 400 it may have"]


def test_what_is_left_at_the_end_is_found() -> None:
    assert verdict(*SOUND, state=["the key x is left"], late=["io-1 had to be killed at the end"]) == [
        "the key x is left",
        "io-1 had to be killed at the end",
    ]
