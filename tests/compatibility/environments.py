import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(__file__).parents[2] / ".cache" / "compatibility"


def python_with(requirements: str) -> Path:
    """A Python of its own that holds exactly what a file lists; made once."""
    listed = CLIENTS / requirements

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--only-binary=:all:", "-r", listed], check=True, timeout=300)

    return _made(listed.stem, (listed,), make) / "bin" / "python"


def node_modules(npm: str) -> Path:
    """A folder in which Node finds exactly what the lock file lists; made once."""
    listed = [CLIENTS / name for name in ("package.json", "package-lock.json")]

    def make(folder: Path) -> None:
        folder.mkdir()
        for path in listed:
            shutil.copy(path, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=True, timeout=300)

    return _made("node", listed, make)


def _made(name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(sys.version.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "made").touch()
    return folder
