import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shared.settings import Settings, load_settings
from tests.upgrades.site import Site
from workers.scratch import clear_scratch, scratch_folder, scratch_root

ROOT = Path(__file__).parents[2]

OWNER = """
import sys, time
from shared.settings import load_settings
from workers.scratch import scratch_folder
with scratch_folder(load_settings(), "training") as folder:
    (folder / "part").write_text("x")
    (folder / "inner").mkdir()
    (folder / "inner" / "away").symlink_to(sys.argv[1])
    print(folder, flush=True)
    time.sleep(600)
"""

CROWD = """
import random, sys, time
from shared.settings import load_settings
from workers.scratch import clear_scratch, scratch_folder
settings, dice = load_settings(), random.Random(int(sys.argv[1]))
for turn in range(60):
    with scratch_folder(settings, "dataset") as folder:
        (folder / "part").write_text(sys.argv[1])
        for look in range(dice.randrange(4)):
            clear_scratch(settings)
            assert (folder / "part").read_text() == sys.argv[1], "a living owner's folder was taken away"
print("well", flush=True)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    return load_settings()


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder elsewhere that nobody may touch."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "kept").write_text("x")
    return folder


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a process of Python that runs the code."""
    processes: list[subprocess.Popen[str]] = []

    def launch(code: str, argument: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, argument]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield launch
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def test_what_a_killed_process_left_goes_when_the_next_folder_is_made_and_what_a_living_one_has_stays(
    start: Callable[..., "subprocess.Popen[str]"], settings: Settings, precious: Path
) -> None:
    killed, living = start(OWNER, str(precious)), start(OWNER, str(precious))
    left, used = (Path(process.stdout.readline().strip()) for process in (killed, living) if process.stdout)
    killed.kill()
    killed.wait()
    assert left.is_dir()
    with scratch_folder(settings, "training") as folder:
        assert sorted(scratch_root(settings).iterdir()) == sorted([used, folder])
        assert (used / "part").read_text() == "x"
    assert list(scratch_root(settings).iterdir()) == [used]
    assert (precious / "kept").read_text() == "x"


def test_a_process_that_was_only_stopped_keeps_its_folder(
    start: Callable[..., "subprocess.Popen[str]"], settings: Settings, precious: Path
) -> None:
    owner = start(OWNER, str(precious))
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    owner.send_signal(signal.SIGSTOP)
    clear_scratch(settings)
    assert (folder / "part").exists()
    owner.kill()
    owner.wait()
    clear_scratch(settings)
    assert not folder.exists()


def test_no_link_is_followed_and_no_file_is_taken_for_a_folder(settings: Settings, precious: Path) -> None:
    root = scratch_root(settings)
    root.mkdir(parents=True)
    (root / "training-link").symlink_to(precious)
    (root / "training-file").write_text("x")
    os.mkfifo(root / "training-pipe")
    clear_scratch(settings)
    assert len(list(root.iterdir())) == 3
    assert (precious / "kept").read_text() == "x"


def test_many_processes_on_one_data_folder_take_nothing_away_from_each_other(
    start: Callable[..., "subprocess.Popen[str]"], settings: Settings
) -> None:
    crowd = [start(CROWD, str(number)) for number in range(6)]
    assert [process.communicate(timeout=60)[0] for process in crowd] == ["well\n"] * len(crowd)
    assert not list(scratch_root(settings).iterdir())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_a_killed_training_worker_left_goes_when_a_worker_of_long_jobs_starts(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    try:
        site.start_all("api-1", "preparing-1", "training-1")
        assert site.ended(site.push_dataset("noise"), 90)["status"] == "succeeded"
        site.train("noise", epochs=1000)
        root = scratch_root(site.settings)
        site.wait(lambda: list(root.glob("training-*/*")), "the training's folder", 90)
        left = list(root.iterdir())
        site.kill(site.members["training-1"])
        assert list(root.iterdir()) == left
        site.kill(site.members["preparing-1"])
        site.launch("preparing-1")
        site.wait(lambda: not list(root.iterdir()), "an empty folder", 90)
    finally:
        site.close()
