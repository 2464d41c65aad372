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
def test_an_unfit_machine_gets_one_sentence_and_a_line_of_make(
    bare: Path, python: str, sentence: str, target: str
) -> None:
    unfit = bare / "python3.x"
    unfit.write_text(f"#!/bin/sh\n{python}\n")
    unfit.chmod(0o755)
    refused = run(bare, "make", target, f"PYTHON={unfit}")
    said, of_make = refused.stderr.splitlines()
    assert sentence in said and said.endswith(".")
    assert of_make.startswith("make: ***") and refused.returncode == 2  # make's own for every failed recipe
    assert refused.stdout == ""
    direct = run(bare, "env", f"PYTHON={unfit}", ".ci/make-venv", "demo")
    assert (direct.stderr, direct.returncode) == (said + "\n", 1)
