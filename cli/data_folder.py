"""The folder of a single machine's service: where its parts find each other.

Everything in it is its owner's alone.

address      where the API answers, while it runs
api-key      the first key, readable by its owner only
artifacts/   versions, data sets, checkpoints (the artifact store, unless another is set)
cache/       copies of versions, and the folders of the jobs that run here (`workers/scratch.py`)
logs/        one file a process
redis/       the append-only file, and the lock that its running server holds
run/         lock of the running ``up``, its processes, the server's socket, configuration and address
uploads/     files on their way in, which have no name
"""

import fcntl
import os
from pathlib import Path

from cli.terminal import Failure, read_text
from shared.settings import Settings, load_settings


class DataFolder:
    """One data folder.

    Args:
        root: Its path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.artifacts = self.root / "artifacts"
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.redis = self.root / "redis"
        self.address = self.root / "address"
        self.api_key = self.root / "api-key"
        self.redis_url = self.run / "redis-url"
        self.run_file = self.run / "processes.json"
        self._lock: int | None = None

    def make(self) -> None:
        """Makes the folder, for its owner only.

        Raises:
            Failure: It cannot be made or written.
        """
        self._make(self.artifacts, self.run, self.logs, self.redis)

    def make_store(self) -> None:
        """Makes no more of the folder than the artifact store in it, for its owner only.

        Raises:
            Failure: It cannot be made or written.
        """
        self._make(self.artifacts)

    def _make(self, *folders: Path) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in folders:
                folder.mkdir(exist_ok=True, mode=0o700)
                folder.chmod(0o700)
        except OSError as error:
            raise Failure(
                f"The data folder {self.root} cannot be made ({error.strerror}); choose another with --data-dir."
            ) from error

    def lock(self) -> None:
        """Takes the folder for this process until it ends, however it ends.

        Raises:
            Failure: Another ``up`` has it.
        """
        self._lock = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise Failure(
                f"Headrace already runs on {self.root} (process {owner}); stop it first, "
                "or choose another folder with --data-dir."
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def unlock(self) -> None:
        """Gives the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def settings_here(self) -> Settings:
        """The settings of a process that works on this folder's service: with the address of its own Redis server.

        An address that the environment sets wins.
        """
        settings = load_settings(data_dir=self.root)
        if not has_own_redis(settings) and self.redis_url.exists():
            settings = with_redis_url(settings, read_text(self.redis_url, self.redis_url.read_text).strip())
        return settings


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, never half of it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def has_own_redis(settings: Settings) -> bool:
    """Whether the environment names a Redis server to use in place of an embedded one."""
    return "url" in settings.redis.model_fields_set


def with_redis_url(settings: Settings, url: str) -> Settings:
    """The same settings, with another Redis server."""
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": url})})


def without_password(url: str) -> str:
    """An address as it may be shown."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
