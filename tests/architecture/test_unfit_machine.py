import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Without what a make around the tests tells the make inside them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with nothing but what ``make demo`` begins with."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/make-venv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("exit 1", "is not a Python 3.11, 3.12 or 3.13: install one of them"),
        ('case "$2" in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; esac', "has no venv module: install it"),
    ],
    ids=["too old a Python", "no venv module"],
)
@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_unfit_machine_gets_one_sentence_and_exit_1(bare: Path, python: str, sentence: str, target: str) -> None:
    unfit = bare / "python3.x"
    unfit.write_text(f"#!/bin/sh\n{python}\n")
    unfit.chmod(0o755)
    refused = run(bare, "make", target, f"PYTHON={unfit}")
    (said,) = refused.stderr.splitlines()
    assert sentence in said and said.endswith(".")
    assert (refused.returncode, refused.stdout) == (1, "")


def test_what_needs_nothing_runs_on_an_unfit_machine(bare: Path) -> None:
    for words in (("make",), ("make", "clean"), ("make", "-n", "demo")):
        assert run(bare, *words, "PYTHON=/bin/false").returncode == 0, words
    assert not (bare / ".venv").exists()


def test_a_finished_installation_is_left_alone_until_what_it_is_made_of_changes(bare: Path) -> None:
    (bare / ".venv").mkdir()
    installed = bare / ".venv" / ".demo-installed"
    installed.touch()
    later = installed.stat().st_mtime + 60
    os.utime(installed, (later, later))
    assert run(bare, "env", "PYTHON=/bin/false", ".ci/make-venv", "demo").returncode == 0
    assert run(bare, "env", "PYTHON=/bin/false", ".ci/make-venv", "dev").returncode == 1
    os.utime(bare / "constraints.txt", (later + 60, later + 60))
    assert run(bare, "env", "PYTHON=/bin/false", ".ci/make-venv", "demo").returncode == 1
