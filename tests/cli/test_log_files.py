from pathlib import Path

import pytest

from cli import log_files
from cli.log_files import LogFiles


def test_a_new_run_moves_the_older_logs_aside_and_keeps_three(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    for run in range(6):
        logs.begin("api")
        logs.path("api").write_text(f"run {run}\n")
    kept = [(tmp_path / name).read_text() for name in ("api.log", "api.log.1", "api.log.2", "api.log.3")]
    assert kept == ["run 5\n", "run 4\n", "run 3\n", "run 2\n"]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_log_that_grows_too_large_is_cut_while_its_process_writes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 10)
    logs = LogFiles(tmp_path)
    with logs.path("api").open("ab", buffering=0) as writer:
        writer.write(b"a line of the past\n")
        logs.bound("api")
        writer.write(b"now\n")
        logs.bound("api")
    assert logs.path("api").read_text() == "now\n"
    assert (tmp_path / "api.log.1").read_text() == "a line of the past\n"


def test_the_last_line_is_the_last_that_is_not_blank(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    assert logs.last_line("api") == ""
    logs.path("api").write_text("Traceback\nOSError: no room\n\n  \n")
    assert logs.last_line("api") == "OSError: no room"
