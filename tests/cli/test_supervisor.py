import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.log_files import LogFiles
from cli.processes import SERVER, RunFile, members, moment_of, record_of
from cli.supervisor import AT_WORK_SECONDS, Program, Supervisor
from shared.watchdog import WATCHDOG_STATUS

SLEEPER = (sys.executable, "-S", "-c", "import time; print('hello', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('hello', flush=True); time.sleep(600)",
)
PARENT = (
    sys.executable,
    "-S",
    "-c",
    "import subprocess, sys, time;"
    " child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']);"
    " print(child.pid, flush=True); time.sleep(600)",
)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        RunFile(tmp_path / "processes.json"), LogFiles(tmp_path / "logs"), said.append, first_delay_seconds=0.05
    )
    yield supervisor
    supervisor.stop(grace_seconds=0.2)


def program(tmp_path: Path, command: tuple[str, ...], name: str = "sleeper") -> Program:
    return Program(name, command, dict(os.environ), tmp_path)


def test_a_program_writes_to_its_log_and_stands_in_the_run_file(
    supervisor: Supervisor, tmp_path: Path, eventually: Callable[..., object]
) -> None:
    supervisor.start(program(tmp_path, SLEEPER))
    eventually(lambda: supervisor.logs.path("sleeper").read_text() == "hello\n")
    record = RunFile(tmp_path / "processes.json").find("sleeper")
    assert record is not None and record.pid == supervisor.pid("sleeper")
    assert os.getsid(record.pid) == record.pid


def test_what_dies_starts_again_and_the_terminal_hears_of_it(
    supervisor: Supervisor, tmp_path: Path, said: list[str], eventually: Callable[..., object]
) -> None:
    supervisor.start(program(tmp_path, SLEEPER))
    first = supervisor.pid("sleeper")
    os.kill(first, signal.SIGKILL)

    def is_new() -> bool:
        supervisor.tick()
        return supervisor.pid("sleeper") != first and supervisor.is_running("sleeper")

    eventually(is_new)
    assert said == [
        f"sleeper was ended by SIGKILL; it starts again in 0.05 s. Its log: {supervisor.logs.path('sleeper')}"
    ]


def test_the_delay_grows_with_each_early_death(
    supervisor: Supervisor, tmp_path: Path, said: list[str], eventually: Callable[..., object]
) -> None:
    supervisor.start(program(tmp_path, (sys.executable, "-S", "-c", "raise SystemExit(70)")))

    def died_thrice() -> bool:
        supervisor.tick()
        return supervisor.deaths("sleeper") >= 3

    eventually(died_thrice)
    assert [text.partition("again in ")[2].partition(" s.")[0] for text in said[:3]] == ["0.05", "0.1", "0.2"]
    assert "ended with exit status 70" in said[0]


def test_a_worker_that_its_watchdog_ended_starts_again_at_once_however_often(
    supervisor: Supervisor, tmp_path: Path, said: list[str], eventually: Callable[..., object]
) -> None:
    supervisor.first_delay_seconds = 60.0
    code = f"import time; time.sleep({AT_WORK_SECONDS}); raise SystemExit({WATCHDOG_STATUS})"
    supervisor.start(program(tmp_path, (sys.executable, "-S", "-c", code)))

    def died_thrice() -> bool:
        supervisor.tick()
        return len(said) >= 3

    eventually(died_thrice)
    assert all("exit status 70; it starts again at once." in text for text in said)


def test_stop_kills_who_does_not_listen_and_what_a_child_has_started(
    supervisor: Supervisor, tmp_path: Path, eventually: Callable[..., object]
) -> None:
    supervisor.start(program(tmp_path, STUBBORN, "stubborn"))
    supervisor.start(program(tmp_path, PARENT, "parent"))
    eventually(lambda: supervisor.logs.path("stubborn").read_text())
    grandchild = int(str(eventually(lambda: supervisor.logs.path("parent").read_text())))
    pids = [supervisor.pid("stubborn"), supervisor.pid("parent"), grandchild]
    assert all(moment_of(pid) for pid in pids)
    begun = time.monotonic()
    supervisor.stop(grace_seconds=0.3)
    assert time.monotonic() - begun < 3
    assert not any(moment_of(pid) for pid in pids)
    assert RunFile(tmp_path / "processes.json").read() == []


def test_what_a_dead_child_had_started_is_gone_before_it_starts_again(
    supervisor: Supervisor, tmp_path: Path, eventually: Callable[..., object]
) -> None:
    supervisor.start(program(tmp_path, PARENT, "parent"))
    grandchild = int(str(eventually(lambda: supervisor.logs.path("parent").read_text())))
    os.kill(supervisor.pid("parent"), signal.SIGKILL)

    def is_gone() -> bool:
        supervisor.tick()
        return moment_of(grandchild) is None

    eventually(is_gone)


def run_supervisor(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A supervisor in a process of its own, with a guardian, a stubborn child and one with a child itself."""
    script = textwrap.dedent(
        """
        import os, sys, threading
        from pathlib import Path
        from cli.log_files import LogFiles
        from cli.processes import RunFile
        from cli.supervisor import Program, Supervisor
        folder = Path(sys.argv[1])
        say = lambda sentence: print(sentence, flush=True)
        supervisor = Supervisor(RunFile(folder / "processes.json"), LogFiles(folder / "logs"), say)
        supervisor.guard(folder / "processes.json", grace_seconds=0.3)
        supervisor.start(Program("stubborn", eval(sys.argv[2]), dict(os.environ), folder))
        supervisor.start(Program("parent", eval(sys.argv[3]), dict(os.environ), folder))
        print("started", flush=True)
        supervisor.run(threading.Event())
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), repr(STUBBORN), repr(PARENT)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    records = json.loads((tmp_path / "processes.json").read_text())["processes"]
    return process, [record["pid"] for record in records]


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path, eventually: Callable[..., object]) -> None:
    process, pids = run_supervisor(tmp_path)
    grandchild = int(str(eventually(lambda: (tmp_path / "logs" / "parent.log").read_text())))
    assert len(pids) == 3
    process.kill()
    process.communicate()
    eventually(lambda: not any(moment_of(pid) for pid in [*pids, grandchild]), seconds=15)


def test_the_next_run_ends_left_overs_when_the_guardian_was_killed_too(
    tmp_path: Path, eventually: Callable[..., object]
) -> None:
    process, pids = run_supervisor(tmp_path)
    run_file = RunFile(tmp_path / "processes.json")
    guardian = run_file.find("guardian")
    assert guardian is not None
    os.kill(guardian.pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    eventually(lambda: moment_of(guardian.pid) is None)
    assert sum(moment_of(pid) is not None for pid in pids) == 2
    run_file.end_left_overs(grace_seconds=0.2)
    assert not any(moment_of(pid) for pid in pids)


def test_a_stranger_with_the_number_of_a_process_of_ours_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        record = {"name": "api", "pid": stranger.pid, "began": "another moment"}
        (tmp_path / "processes.json").write_text(json.dumps({"schema": 1, "processes": [record]}))
        run_file = RunFile(tmp_path / "processes.json")
        assert run_file.find("api") is None
        run_file.end_left_overs(grace_seconds=0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_run_file_that_cannot_be_read_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text('{"processes": [')
    assert RunFile(tmp_path / "processes.json").read() == []


def test_a_guardian_that_is_killed_starts_again_and_still_cleans_up(
    tmp_path: Path, eventually: Callable[..., object]
) -> None:
    process, pids = run_supervisor(tmp_path)
    run_file = RunFile(tmp_path / "processes.json")
    guardian = run_file.find("guardian")
    assert guardian is not None
    os.kill(guardian.pid, signal.SIGKILL)
    assert process.stdout is not None
    assert process.stdout.readline() == "guardian was ended by SIGKILL; it starts again in 0.5 s.\n"
    assert guardian.pid not in [record.pid for record in run_file.read()]
    eventually(lambda: run_file.find("guardian"))
    process.kill()
    process.communicate()
    rest = [pid for pid in pids if pid != guardian.pid]
    eventually(lambda: not any(moment_of(pid) for pid in rest), seconds=15)


def test_a_guardian_that_keeps_dying_starts_again_later_each_time(
    supervisor: Supervisor, tmp_path: Path, said: list[str], eventually: Callable[..., object]
) -> None:
    run_file = RunFile(tmp_path / "processes.json")
    supervisor.guard(tmp_path / "processes.json", grace_seconds=0.3)

    def died_thrice() -> bool:
        supervisor.tick()
        guardian = run_file.find("guardian")
        if guardian is not None:
            os.kill(guardian.pid, signal.SIGKILL)
        return len(said) >= 3

    eventually(died_thrice)
    assert [text.partition("again in ")[2] for text in said] == ["0.05 s.", "0.1 s.", "0.2 s."]


def test_a_guardian_that_hangs_does_not_keep_the_supervisor_from_its_end(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.guard(tmp_path / "processes.json")
    guardian = RunFile(tmp_path / "processes.json").find("guardian")
    assert guardian is not None
    os.kill(guardian.pid, signal.SIGSTOP)
    supervisor.stop()
    assert moment_of(guardian.pid) is None


def test_the_status_of_an_adopted_process_is_unknown(
    supervisor: Supervisor, tmp_path: Path, said: list[str], eventually: Callable[..., object]
) -> None:
    earlier = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL, start_new_session=True)
    record = record_of("sleeper", earlier.pid)
    supervisor.adopt(program(tmp_path, SLEEPER), record)
    earlier.kill()
    earlier.wait()

    def is_new() -> bool:
        supervisor.tick()
        return supervisor.pid("sleeper") != earlier.pid

    eventually(is_new)
    assert said[0].startswith("sleeper ended with an unknown exit status (it was started by an earlier run); it starts")


@pytest.mark.long
def test_stop_takes_less_than_ten_seconds_where_nothing_listens_to_it(
    supervisor: Supervisor, tmp_path: Path, eventually: Callable[..., object]
) -> None:
    supervisor.guard(tmp_path / "processes.json")
    for name in ("worker", SERVER):
        supervisor.start(program(tmp_path, STUBBORN, name))
        eventually(lambda name=name: supervisor.logs.path(name).read_text() == "hello\n")
    records = RunFile(tmp_path / "processes.json").read()
    (guardian,) = (record for record in records if record.name == "guardian")
    os.kill(guardian.pid, signal.SIGSTOP)
    begun = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begun < 9.5  # the rest is for what `up` does around it
    assert not any(members(record) for record in records)
