import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cli.data_folder import DataFolder, with_redis_url
from cli.embedded_redis import EmbeddedRedis
from cli.log_files import LogFiles
from cli.processes import SERVER, RunFile, moment_of
from cli.supervisor import Supervisor
from cli.terminal import Failure
from shared.connections import Redis, open_redis
from shared.settings import RedisSettings, Settings


class Run:
    """One run over a data folder, as ``up`` has it, with nothing but the server."""

    def __init__(self, root: Path, **redis: Any) -> None:
        self.folder = DataFolder(root)
        self.folder.make()
        self.settings = Settings(data_dir=root, redis=RedisSettings(socket_timeout_seconds=0.5, **redis))
        self.run_file = RunFile(self.folder.run_file)
        self.supervisor = Supervisor(self.run_file, LogFiles(self.folder.logs), print)
        self.embedded = EmbeddedRedis(self.folder, self.settings)

    def start(self) -> str:
        return self.embedded.start(self.supervisor, self.run_file)

    def redis(self, url: str) -> Redis:
        return open_redis(with_redis_url(self.settings, url))

    def abandon(self) -> None:
        """Ends as by a kill: the server lives on."""
        self.embedded.close()


@pytest.fixture
def run_over() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(root: Path, **redis: Any) -> Run:
        runs.append(Run(root, **redis))
        return runs[-1]

    yield make
    for run in runs:
        with suppress(KeyError):
            pid = run.supervisor.pid(SERVER)
            if moment_of(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        run.supervisor.stop(grace_seconds=0.2)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, whatever the test is called."""
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        yield Path(folder)


def test_the_server_syncs_before_every_answer_where_that_is_set(short_path: Path, run_over: Callable[..., Run]) -> None:
    run = run_over(short_path, append_fsync="always")

    with run.redis(run.start()) as redis:
        assert redis.config_get("appendfsync") == {"appendfsync": "always"}


def test_the_server_is_durable_evicts_nothing_and_listens_on_a_private_socket_only(
    short_path: Path, run_over: Callable[[Path], Run]
) -> None:
    run = run_over(short_path / "with space" / 'and "quotes"')
    url = run.start()
    with run.redis(url) as redis:
        config = redis.config_get("append*", "maxmemory-policy", "port", "save")
    assert url.startswith("unix://")
    assert (config["appendonly"], config["appendfsync"], config["save"]) == ("yes", "everysec", "")
    assert (config["maxmemory-policy"], config["port"]) == ("noeviction", "0")
    assert stat.S_IMODE(run.folder.run.stat().st_mode) == 0o700


def test_a_folder_too_deep_for_a_socket_gets_a_password_that_is_on_no_command_line(
    run_over: Callable[[Path], Run], tmp_path: Path
) -> None:
    run = run_over(tmp_path / ("deep" * 25))
    url = run.start()
    password = url.removeprefix("redis://:").partition("@")[0]
    assert len(password) > 30
    with run.redis(url) as redis:
        assert redis.ping()
    for name in ("redis.conf", "redis-url"):
        assert stat.S_IMODE((run.folder.run / name).stat().st_mode) == 0o600
    command_line = Path(f"/proc/{run.supervisor.pid(SERVER)}/cmdline")
    if command_line.exists():
        assert password.encode() not in command_line.read_bytes()
    with (
        pytest.raises(Exception, match="invalid username-password"),
        run.redis(url.replace(password, "x")) as redis,
    ):
        redis.ping()


def test_a_server_that_a_killed_run_has_left_is_adopted(run_over: Callable[[Path], Run], tmp_path: Path) -> None:
    first = run_over(tmp_path)
    url = first.start()
    with first.redis(url) as redis:
        redis.set("kept", "yes")
    pid = first.supervisor.pid(SERVER)
    first.abandon()
    second = run_over(tmp_path)
    assert second.start() == url
    assert second.supervisor.pid(SERVER) == pid
    with second.redis(url) as redis:
        assert redis.get("kept") == b"yes"


def test_an_adopted_server_that_dies_is_started_again_over_the_same_data(
    run_over: Callable[[Path], Run], tmp_path: Path, eventually: Callable[..., object]
) -> None:
    first = run_over(tmp_path)
    url = first.start()
    with first.redis(url) as redis:
        redis.set("kept", "yes")
        redis.bgrewriteaof()
    first.abandon()
    second = run_over(tmp_path)
    second.start()
    os.kill(second.supervisor.pid(SERVER), signal.SIGTERM)
    eventually(lambda: first.supervisor.is_running(SERVER) is False)

    def is_back() -> bool:
        second.supervisor.tick()
        with suppress(Exception), second.redis(url) as redis:
            return bool(redis.get("kept") == b"yes")
        return False

    eventually(is_back)


def test_a_left_over_server_that_does_not_answer_is_replaced(
    run_over: Callable[[Path], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_over(tmp_path)
    url = first.start()
    pid = first.supervisor.pid(SERVER)
    first.abandon()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("cli.embedded_redis.PROOF_SECONDS", 0.2)
    monkeypatch.setattr("cli.embedded_redis.END_SECONDS", 0.2)
    second = run_over(tmp_path)
    assert second.start() == url
    assert second.supervisor.pid(SERVER) != pid
    assert not first.supervisor.is_running(SERVER)


def test_a_server_that_cannot_be_proved_ours_is_left_alone(
    run_over: Callable[[Path], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_over(tmp_path)
    first.start()
    first.abandon()
    first.folder.run_file.unlink()
    first.folder.redis_url.unlink()
    second = run_over(tmp_path)
    with pytest.raises(Failure, match="cannot prove its own"):
        second.start()
    assert first.supervisor.is_running(SERVER)


def test_a_data_folder_is_one_run_s_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.make()
    first.lock()
    with pytest.raises(Failure, match=rf"already runs on .* \(process {os.getpid()}\)"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_server_that_still_reads_its_data_is_waited_for(short_path: Path, run_over: Callable[[Path], Run]) -> None:
    run = run_over(short_path)
    # Three million commands: a second or two to read, while the server answers CONFIG but serves nothing.
    lines = b"".join(b"*3\r\n$5\r\nLPUSH\r\n$4\r\nlist\r\n$1\r\nx\r\n" for _ in range(1000)) * 3000
    folder = run.folder.redis / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.1.incr.aof").write_bytes(lines)
    (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    with run.redis(run.start()) as redis:
        assert redis.llen("list") == 3_000_000
