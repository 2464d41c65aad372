import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.errors import ImportRefused, JobCanceled
from shared.settings import ImportsSettings
from workers.importing.child import MODEL, RESULT
from workers.importing.sandbox import own_file, run_child

ROOT = Path(__file__).parents[3]

PROBE = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path
folder, secret, parent = Path(sys.argv[1]), sys.argv[2], os.getppid()
from workers.importing.confinement import confine
report = {"measures": confine(folder, parent, 2**34, 60, 2**20)}
def tries(name, act):
    try:
        act()
        report[name] = "done"
    except BaseException as error:
        report[name] = type(error).__name__
tries("connect", lambda: socket.create_connection(("127.0.0.1", 80), 1))
tries("unix", lambda: socket.socket(socket.AF_UNIX))
tries("pair", socket.socketpair)
tries("program", lambda: subprocess.run(["/bin/true"]))
tries("fork", os.fork)
tries("signal", lambda: os.kill(parent, 0))
tries("secret", lambda: Path(secret).read_text())
tries("neighbours", lambda: Path(f"/proc/{parent}/environ").read_bytes())
tries("outside", lambda: Path(secret).with_name("planted").write_text("x"))
tries("large", lambda: (folder / "large").write_bytes(bytes(2**21)))
tries("inside", lambda: (folder / "kept").write_text("x"))
thread = threading.Thread(target=lambda: report.update(thread="done"))
thread.start()
thread.join()
report["environment"] = sorted(os.environ)
(folder / "report.json").write_text(json.dumps(report))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


@pytest.fixture
def probed(folder: Path, tmp_path: Path) -> dict[str, Any]:
    secret = tmp_path / "api-key"
    secret.write_text("hr_secret")
    subprocess.run(
        [sys.executable, "-P", "-c", PROBE, str(folder), str(secret)],
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        cwd=folder,
        check=True,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_a_confined_process_has_no_network_and_no_other_process(probed: Mapping[str, Any]) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux takes system calls away")
    denied = {name: probed[name] for name in ("connect", "unix", "pair", "program", "fork", "signal")}
    assert set(denied.values()) == {"PermissionError"}, denied


def test_a_confined_process_sees_its_own_folder_only(
    probed: Mapping[str, Any], unless_ci: Callable[[str], None]
) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux takes files away")
    if "files" not in probed["measures"]:
        unless_ci("this kernel has no Landlock")
    denied = {name: probed[name] for name in ("secret", "neighbours", "outside")}
    assert set(denied.values()) == {"PermissionError"}, denied


def test_a_confined_process_can_still_work(probed: Mapping[str, Any]) -> None:
    assert "limits" in probed["measures"]
    assert (probed["inside"], probed["thread"], probed["large"]) == ("done", "done", "OSError")


def scanned(run: Any, folder: Path, file: Path, **limits: Any) -> Any:
    target = folder / "upload.keras"
    target.write_bytes(file.read_bytes())
    return run_child(run, ImportsSettings(**limits), folder, {"mode": "scan", "file": target.name})


def test_a_scan_runs_in_a_child_that_sees_no_variable_of_ours(
    new_run: Callable[..., Any], archive: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS__URL", "redis://:secret@127.0.0.1")
    file = archive()
    result = scanned(new_run(file), folder, file)
    assert "limits" in result.measures and result.refused is None
    assert "secret" not in json.dumps([path.read_text(errors="replace") for path in folder.iterdir()])


def test_a_refusal_keeps_its_sentence(new_run: Callable[..., Any], archive: Callable[..., Path], folder: Path) -> None:
    file = archive(members={"evil.py": b"x"})
    with pytest.raises(ImportRefused, match="E1501: the member 'evil.py' does not belong into a model file"):
        scanned(new_run(file), folder, file)


def test_a_child_that_takes_too_long_is_killed(
    new_run: Callable[..., Any], archive: Callable[..., Path], folder: Path
) -> None:
    file = archive()
    with pytest.raises(ImportRefused, match=r"took more than 0\.01 s"):
        scanned(new_run(file), folder, file, timeout_seconds=0.01)


def test_a_child_that_needs_too_much_memory_says_so(
    new_run: Callable[..., Any], archive: Callable[..., Path], folder: Path
) -> None:
    file = archive()
    with pytest.raises(ImportRefused, match="E1502"):
        scanned(new_run(file), folder, file, memory_bytes=50_000_000)


def test_a_canceled_job_takes_its_child_along_within_a_second(
    new_run: Callable[..., Any], archive: Callable[..., Path], folder: Path
) -> None:
    file = archive()
    run = new_run(file, cancel_at="fetching")
    run.report(stage="fetching")
    began = time.monotonic()
    with pytest.raises(JobCanceled):
        scanned(run, folder, file)
    assert time.monotonic() - began < 1
    assert not (folder / RESULT).exists()
    assert not [child for child in psutil.Process().children() if "workers.importing.child" in child.cmdline()]


def test_what_a_child_leaves_must_be_a_file_of_its_own(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(ImportRefused, match="left no model"):
        own_file(folder, MODEL, 10)
    (folder / MODEL).symlink_to(secret)
    with pytest.raises(ImportRefused, match="not accepted"):
        own_file(folder, MODEL, 10)
    (folder / MODEL).unlink()
    (folder / MODEL).hardlink_to(secret)
    with pytest.raises(ImportRefused, match="not accepted"):
        own_file(folder, MODEL, 10)
    (folder / MODEL).unlink()
    (folder / MODEL).write_bytes(bytes(11))
    with pytest.raises(ImportRefused, match="not accepted"):
        own_file(folder, MODEL, 10)
