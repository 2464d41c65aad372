import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_constraints_are_plain_lines_of_a_name_and_a_version(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in lines), lines
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("extra", ["dev", "gpu"])  # [dev] holds [api], [worker] and [demo]
def test_the_constraints_resolve_from_wheels_for(extra: str, version: str, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--dry-run"]
    command += [
        "--python-version",
        version,
        "--only-binary=:all:",
        "--ignore-installed",
        "--target",
        str(tmp_path / "t"),
    ]
    command += ["--report", str(tmp_path / "report.json"), "-c", str(root / "constraints.txt")]
    result = subprocess.run([*command, f"{root}[{extra}]"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]

    found = json.loads((tmp_path / "report.json").read_text())["install"]
    constrained = dict(line.split("==") for line in (root / "constraints.txt").read_text().splitlines())
    resolved = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"] for item in found}
    del resolved["headrace"]
    # They own the same files, so that either may be there, never both.
    assert len({"tensorflow-cpu", "tensorflow"} & set(resolved)) == 1
    if extra == "gpu":
        assert "tensorflow" in resolved
        assert sys.platform != "linux" or any(name.startswith("nvidia-cudnn") for name in resolved)
    assert {name: constrained.get(name) for name in resolved} == resolved, "a package has no line in constraints.txt"


def test_every_constraint_has_a_wheel_for_every_python(root: Path, tmp_path: Path) -> None:
    lines = [
        line
        for line in (root / "constraints.txt").read_text().splitlines()
        # The largest of all are needed on machines with a GPU only; that they exist is enough to know here.
        if not line.startswith(("nvidia-", "tensorflow=="))
    ]
    for version in ("3.11", "3.12", "3.13"):
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--dry-run"]
        command += ["--no-deps", "--ignore-installed", "--python-version", version, "--only-binary=:all:"]
        command += ["--target", str(tmp_path / version), *lines]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"Python {version}: {result.stderr[-2000:]}"
