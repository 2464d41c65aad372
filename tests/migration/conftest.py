"""A server and an artifact store with the data that an earlier commit's code wrote."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.upgrades.site import Site

DATA = Path(__file__).parent / "c93b1e5"


@pytest.fixture
def facts() -> dict[str, Any]:
    """What was made: key, reader, versions, dataset, jobs by what was done with them, and the claim of one."""
    made: dict[str, Any] = json.loads((DATA / "facts.json").read_text())
    return made


@pytest.fixture
def old_scripts() -> dict[str, str]:
    scripts: dict[str, str] = json.loads((DATA / "scripts.json").read_text())
    return scripts


@pytest.fixture
def site(tmp_path: Path, facts: dict[str, Any]) -> Iterator[Site]:
    """A service of today over that data; it has no process but Redis yet."""
    made = Site(tmp_path / "site")
    made.redis.flushall()
    store = made.folder / "data" / "artifacts"
    shutil.rmtree(store)
    shutil.copytree(DATA / "artifacts", store)
    with socket.create_connection(("127.0.0.1", made.server.port)) as connection:
        connection.sendall((DATA / "commands.aof").read_bytes() + b"*1\r\n$4\r\nQUIT\r\n")
        replies = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"-ERR" not in replies and replies.startswith(b"+OK")
    made.key = facts["key"]
    made.registry.forget()
    yield made
    made.close()


@pytest.fixture
def call_old(site: Site, old_scripts: dict[str, str]) -> Callable[..., Any]:
    """Runs a script as the earlier code does."""

    def call(name: str, *args: Any) -> Any:
        return site.redis.eval(old_scripts[name], 1, "headrace:{a}", 0, *args)

    return call
