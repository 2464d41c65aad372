import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

USER = "headrace-stranger"
PATH = "/usr/local/bin:/usr/bin:/bin"
IN_RANGE = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"


@pytest.fixture(scope="module")
def stranger(needs_root: None, unless_ci: Callable[[str], None]) -> Iterator[Path]:
    for tool in ("useradd", "userdel", "runuser", "make", "git"):
        if shutil.which(tool) is None:
            unless_ci(f"{tool} is not installed")
    subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True, capture_output=True)
    home = Path(pwd.getpwnam(USER).pw_dir)
    yield home
    subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)


@pytest.fixture(scope="module")
def needs_root(unless_ci: Callable[[str], None]) -> None:
    if os.geteuid() != 0:
        unless_ci("only root can make another user")


@pytest.fixture(scope="module")
def clone(stranger: Path, checkout: Callable[[Path], Path]) -> Path:
    # A commit of the working tree as it is, cloned: what is not committed is tested too, what git ignores is not there.
    origin = checkout(stranger / "origin")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C", str(origin)]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "As it is"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    subprocess.run(["git", "clone", "--quiet", str(origin), str(stranger / "headrace")], check=True)
    subprocess.run(["chown", "--recursive", f"{USER}:{USER}", str(stranger)], check=True)
    return stranger / "headrace"


@pytest.fixture(scope="module")
def python(unless_ci: Callable[[str], None]) -> str:
    """A Python that another user can run: root's own may lie in its home."""
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        path = shutil.which(name, path=PATH)
        if path and subprocess.run([path, "-c", IN_RANGE], capture_output=True, check=False).returncode == 0:
            return path
    unless_ci(f"there is no Python 3.11 to 3.13 with a venv module in {PATH}")
    raise AssertionError


def as_stranger(clone: Path, *words: str, seconds: float = 900, **extra: str) -> subprocess.CompletedProcess[str]:
    # Nothing of root's environment but where packages come from.
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment |= {"HOME": str(clone.parent), "PATH": PATH, "LANG": "C.UTF-8", **extra}
    return subprocess.run(
        [str(shutil.which("runuser")), "-u", USER, "--", *words],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def test_make_demo_works_for_a_stranger_and_installs_once(clone: Path, python: str) -> None:
    first = as_stranger(clone, "make", "demo", f"PYTHON={python}")
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr[-4000:]
    assert "Installing" in first.stderr
    shown = first.stdout + first.stderr
    for words in ("test accuracy", "1,000 images", "canceled"):
        assert words in shown, shown[-4000:]

    def installed() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (clone / ".venv").rglob("*.dist-info")}

    before = installed()
    second = as_stranger(clone, "make", "demo", f"PYTHON={python}", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert second.returncode == 0, second.stdout[-4000:] + second.stderr[-4000:]
    assert "Installing" not in second.stdout + second.stderr
    assert installed() == before
    shown = subprocess.run(["ps", "-u", USER, "-o", "stat=,pid=,args="], capture_output=True, text=True, check=False)
    # A dead process that process 1 has yet to collect is none that runs.
    assert [line for line in shown.stdout.splitlines() if not line.startswith("Z")] == []


def test_a_python_that_is_too_old_gets_one_sentence(clone: Path) -> None:
    old = clone.parent / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    check_refusal(clone, "not a Python 3.11, 3.12 or 3.13", PYTHON=str(old))


def test_a_missing_venv_module_gets_one_sentence(clone: Path, python: str) -> None:
    bare = clone.parent / "python-without-venv"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec {python} "$@"\n')
    bare.chmod(0o755)
    check_refusal(clone, "has no venv module: install it", PYTHON=str(bare))


def test_a_missing_network_gets_one_sentence(clone: Path, python: str) -> None:
    check_refusal(
        clone, "The package index cannot be reached", PYTHON=python, PIP_INDEX_URL="http://127.0.0.1:9/simple"
    )


def check_refusal(clone: Path, sentence: str, **extra: str) -> None:
    other = clone.parent / "other"
    shutil.rmtree(other, ignore_errors=True)
    as_stranger(clone, "git", "clone", "--quiet", str(clone), str(other))
    refused = as_stranger(other, "make", "demo", seconds=120, **extra)
    *progress, said = refused.stderr.splitlines()
    assert sentence in said
    assert all(line.startswith(("Making .venv", "Installing Headrace")) for line in progress), refused.stderr
    assert (refused.returncode, refused.stdout) == (1, "")
