import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PLANTED = {
    "api, workers and cli meet only in shared": ("cli/jobs.py", "import api.errors"),
    "api: every entrance goes through one submission": ("api/submission.py", "import api.routes"),
    "workers: tasks drive engines, engines never know Celery or each other": (
        "workers/training/trainer.py",
        "import workers.inference.predictor",
    ),
    "cli: commands over the client of a server or the processes of one, both over the terminal": (
        "cli/helpers.py",
        "X = 1",
    ),
    "shared: stores over connections over plain facts": ("shared/helpers.py", "X = 1"),
    "TensorFlow lives only in the engines that compute": ("workers/claims.py", "import tensorflow"),
    "Flask lives only in api": ("shared/errors.py", "import flask"),
    "Redis is spoken only in shared": ("workers/process.py", "import redis"),
    "Engines run without a broker: Celery is known to the tasks, and to the bells that call them": (
        "workers/inference/drain.py",
        "import celery",
    ),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # COLUMNS keeps a contract's long name on one line.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"COLUMNS": "200", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_import_contract_is_kept(root: Path) -> None:
    result = lint_imports(root)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_contract_notices_an_import_that_breaks_it(root: Path, tmp_path: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(PLANTED)
    shutil.copy(root / "pyproject.toml", tmp_path)
    for package in ("api", "workers", "shared", "cli"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, line in PLANTED.values():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    shown = lint_imports(tmp_path).stdout
    assert {name for name in PLANTED if f"{name} BROKEN" in shown} == set(PLANTED), shown
