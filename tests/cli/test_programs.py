import socket
from pathlib import Path

import pytest

from cli.data_folder import DataFolder
from cli.programs import Shape, address, host_prefix, programs
from cli.service import choose_port
from cli.terminal import Failure
from shared.settings import HttpSettings, RedisSettings, Settings, load_settings


def names(shape: Shape, tmp_path: Path) -> list[str]:
    return [program.name for program in programs(Settings(data_dir=tmp_path), DataFolder(tmp_path), shape)]


def test_one_process_of_each_kind_and_more_where_asked_for(tmp_path: Path) -> None:
    assert names(Shape(), tmp_path) == ["inference-1", "training-1", "preparing-1", "io-1", "api"]
    many = names(Shape(inference_workers=2, training_workers=2), tmp_path)
    assert many[:4] == ["inference-1", "inference-2", "training-1", "training-2"]


def test_a_child_trains_once_and_prepares_many_times_here_and_in_containers(tmp_path: Path) -> None:
    found = {program.name: program for program in programs(Settings(data_dir=tmp_path), DataFolder(tmp_path), Shape())}
    compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
    for kind, queue, most in (("training", "train", "1"), ("preparing", "prepare", "20")):
        command = found[f"{kind}-1"].command
        assert command[command.index("--max-tasks-per-child") + 1] == most
        assert f'-Q, {queue}.cpu, -P, prefork, -c, "1", --max-tasks-per-child, "{most}"' in compose


def test_children_see_the_settings_of_the_supervisor_whatever_their_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HEADRACE_BATCHING__MAX_BATCH_ROWS=32\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(data_dir=tmp_path / "data", redis=RedisSettings(url="unix:///x", prefix="headrace"))
    found = {program.name: program for program in programs(settings, DataFolder(tmp_path / "data"), Shape(port=81))}
    environment = found["inference-1"].environment
    monkeypatch.chdir("/")
    for name, value in environment.items():
        if name.startswith("HEADRACE_"):
            monkeypatch.setenv(name, value)
    seen = load_settings()
    assert seen.batching.max_batch_rows == 32
    assert seen.redis.url == "unix:///x"
    assert seen.worker.name == "inference-1"
    assert seen.batching == settings.batching
    assert found["api"].environment["HEADRACE_HTTP__PUBLIC_URL"] == "http://127.0.0.1:81"
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "2"
    assert "HEADRACE_CLIENT__API_KEY" not in environment


def test_an_address_of_all_hosts_is_no_public_one(tmp_path: Path) -> None:
    api = programs(Settings(data_dir=tmp_path), DataFolder(tmp_path), Shape(host="0.0.0.0"))[-1]
    assert api.environment["HEADRACE_HTTP__PUBLIC_URL"] == ""
    assert address(Shape(host="0.0.0.0", port=8000)) == "http://127.0.0.1:8000"
    assert address(Shape(host="::1", port=8000)) == "http://[::1]:8000"
    told = Settings(data_dir=tmp_path, http=HttpSettings(public_url="https://m.example.org"))
    api = programs(told, DataFolder(tmp_path), Shape())[-1]
    assert api.environment["HEADRACE_HTTP__PUBLIC_URL"] == "https://m.example.org"


def test_workers_on_a_shared_server_carry_the_host_in_their_names(tmp_path: Path) -> None:
    prefix = host_prefix()
    first = programs(Settings(data_dir=tmp_path), DataFolder(tmp_path), Shape(), prefix)[0]
    assert first.name == "inference-1"
    assert first.environment["HEADRACE_WORKER__NAME"] == f"{prefix}inference-1"


def test_a_taken_port_is_refused_and_0_finds_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Failure, match=f"Port {port} of 127.0.0.1 is taken"):
            choose_port("127.0.0.1", port)
    assert choose_port("127.0.0.1", 0) > 1023
    with pytest.raises(Failure, match=r"The host 'no\.such\.host\.invalid' is unknown"):
        choose_port("no.such.host.invalid", 8000)
