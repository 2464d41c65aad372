"""The whole service on one machine: Redis server, API and workers, from the first start to the last stop."""

import importlib.util
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

import requests

from cli.data_folder import DataFolder, has_own_redis, with_redis_url, write_private
from cli.embedded_redis import EmbeddedRedis
from cli.log_files import LogFiles
from cli.own_certificate import refuse_unusable, trust
from cli.processes import GUARDIAN, RunFile, end_all, is_alive, wait_until
from cli.programs import Shape, address, host_prefix, programs
from cli.redis_check import refuse_unfit
from cli.supervisor import Program, Supervisor
from cli.terminal import Failure, read_text
from shared.api_keys import ApiKeys
from shared.connections import open_redis
from shared.errors import ServiceError
from shared.heartbeats import Heartbeats
from shared.settings import Settings

READY_SECONDS = 120.0
GUARDIAN_SECONDS = 12.0
NEEDED = ("flask", "granian", "tensorflow", "keras", "PIL")
FIRST_ACCOUNT = "default"


class Service:
    """One machine's service; a context that stops it at its end.

    Args:
        settings: The settings, with the data folder.
        shape: What to run and where to listen.
        say: Called with one sentence for the person at the terminal.
    """

    def __init__(self, settings: Settings, shape: Shape, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.folder = DataFolder(settings.data_dir)
        self._shape = shape
        self._say = say
        self._run_file = RunFile(self.folder.run_file)
        self._prefix = host_prefix() if has_own_redis(settings) else ""
        self._embedded: EmbeddedRedis | None = None
        self._supervisor: Supervisor | None = None
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where the API answers."""
        return address(self._shape, is_secure=self.settings.http.tls_certificate is not None)

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._ended.is_set()

    def __enter__(self) -> Self:
        """Starts everything, without waiting until it is ready.

        Raises:
            Failure: Something cannot be started; what was started is stopped again.
        """
        refuse_incomplete()
        refuse_unusable(self.settings.http.tls_certificate, self.settings.http.tls_key)
        self.folder.make()
        self.folder.lock()
        try:
            self._clean_up()
            self._shape = replace(self._shape, port=choose_port(self._shape.host, self._shape.port))
            logs = LogFiles(self.folder.logs)
            self._supervisor = Supervisor(self._run_file, logs, self._say)
            self._supervisor.guard(self.folder.run_file)
            self._start(self._supervisor)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything."""
        self.stop()

    def wait_until_ready(self, is_stopped: Callable[[], bool] = lambda: False) -> bool:
        """Waits until the API answers and every worker lives; answers whether they do.

        Raises:
            Failure: They do not in time.
        """
        workers = [program.name for program in self._programs() if program.name != "api"]
        supervisor = self._supervisor
        assert supervisor is not None, "wait inside of the context"
        heartbeats = Heartbeats(open_redis(self.settings), self.settings)

        def missing() -> list[str]:
            try:
                pids = {worker.name: worker.pid for worker in heartbeats.living()}
            except ServiceError:
                return ["redis"]
            # By its process: the sign of life of an earlier run's worker may still stand.
            late = [name for name in workers if pids.get(self._prefix + name) != supervisor.pid(name)]
            return [*late, *([] if self._answers() else ["api"])]

        if not wait_until(lambda: is_stopped() or not missing(), READY_SECONDS, step=0.1):
            raise Failure(
                f"Not ready after {READY_SECONDS:.0f} s: {', '.join(missing())} did not start; "
                f"see the logs in {self.folder.logs}."
            )
        if is_stopped():
            return False
        write_private(self.folder.address, self.address + "\n")
        return True

    def stop(self) -> None:
        """Stops everything; a second call does nothing."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        if self._supervisor is not None:
            self.folder.address.unlink(missing_ok=True)
            self._supervisor.stop()
            self._supervisor = None
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None
        self.folder.unlock()

    def hurry(self) -> None:
        """Kills at once what ``stop`` still waits for."""
        if self._supervisor is not None:
            self._supervisor.hurry()

    def _clean_up(self) -> None:
        """Ends what an earlier run has left; its guardian may be at it already."""
        guardian = self._run_file.find(GUARDIAN)
        if guardian is not None and not wait_until(lambda: not is_alive(guardian), GUARDIAN_SECONDS):
            end_all([guardian], grace_seconds=0)
        self._run_file.end_left_overs()

    def _start(self, supervisor: Supervisor) -> None:
        if has_own_redis(self.settings):
            refuse_unfit(self.settings)
        else:
            self._embedded = EmbeddedRedis(self.folder, self.settings)
            self.settings = with_redis_url(self.settings, self._embedded.start(supervisor, self._run_file))
        self._make_first_key()
        for program in self._programs():
            supervisor.start(program)
        self._keeper = threading.Thread(target=supervisor.run, args=(self._ended,), name="supervisor", daemon=True)
        self._keeper.start()

    def _make_first_key(self) -> None:
        """Makes a key for this machine's commands, unless the server knows the one that lies in the folder."""
        keys, file = ApiKeys(open_redis(self.settings), self.settings), self.folder.api_key
        if not file.exists() or keys.find(read_text(file, file.read_text).strip()) is None:
            text, _ = keys.create(FIRST_ACCOUNT, "first key", ["admin"])
            write_private(file, text + "\n")

    def _programs(self) -> list[Program]:
        return programs(self.settings, self.folder, self._shape, self._prefix)

    def _answers(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                trust(session, self.settings.http.tls_certificate)
                return session.get(f"{self.address}/readyz", timeout=2).ok
        except requests.RequestException:
            return False


def refuse_incomplete() -> None:
    """Makes sure that what the API and the workers need is installed, before each of them fails by itself.

    Raises:
        Failure: It is not.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(
            f"This machine lacks {', '.join(missing)} for the whole service; "
            'install them with: pip install "headrace[api,worker]"'
        )


def choose_port(host: str, port: int) -> int:
    """The port to listen on: the one asked for if it is free, any free one for 0.

    Raises:
        Failure: The port is taken, or the host is none of this machine's.
    """
    try:
        family, _, _, _, target = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # The API shares its port with its own workers, so a second one would not be refused by the system.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            return int(probe.getsockname()[1])
    except PermissionError as error:
        raise Failure(f"This user may not listen on port {port}; choose one above 1023 with --port.") from error
    except OSError as error:
        if host and isinstance(error, socket.gaierror):
            raise Failure(f"The host {host!r} is unknown; give an address of this machine with --host.") from error
        raise Failure(
            f"Port {port} of {host} is taken ({os.strerror(error.errno or 0)}); "
            "choose another with --port, or 0 for a free one."
        ) from error
