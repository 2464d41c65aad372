import pytest
from rich.console import Console

from cli import terminal


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "out", Console(force_terminal=True, width=60, color_system=None))


@pytest.mark.usefixtures("narrow")
def test_ids_and_moments_stay_whole_where_the_terminal_is_narrow_and_sentences_fold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_id, moment, error = "a" * 26, "2026-01-02 03:04:05", "E1701: the training cannot go on without more memory"
    terminal.print_table(("id", "created", "error"), [(job_id, moment, error), ("b" * 26, moment, None)], "")
    lines = capsys.readouterr().out.splitlines()
    assert any(job_id in line and moment in line for line in lines)
    assert error not in "".join(lines) and error.replace(" ", "") in "".join(
        line.removeprefix(job_id).replace(moment, "").replace(" ", "") for line in lines if "b" * 26 not in line
    )


def test_columns_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(("id", "error", "rows"), [("a1", None, 0), ("a2", "", 3)], "")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["id", "rows"], ["a1", "0"], ["a2", "3"]]
