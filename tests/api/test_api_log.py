import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from cli.data_folder import DataFolder
from cli.programs import Shape, programs
from shared.connections import Redis
from shared.settings import Settings

SECRET = "unseen0wd5kq"
"""A text that stands in every query, for whatever might print only a part of one."""


class Served:
    """The API as ``headrace up`` starts it, and what it says."""

    def __init__(self, settings: Settings, folder: Path, port: int, **environment: str) -> None:
        program = programs(settings, DataFolder(folder / "data"), Shape(port=port))[-1]
        assert program.name == "api"
        program.folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "api.log"
        with self._path.open("w") as log:
            self.process = subprocess.Popen(
                program.command, env={**program.environment, **environment}, cwd=program.folder, stdout=log, stderr=log
            )
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    @property
    def said(self) -> str:
        return self._path.read_text(errors="replace")

    def answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return requests.get(f"{self.url}/livez", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> str:
        """Ends it, so that nothing is left to be written; all that it has said."""
        self.process.terminate()
        self.process.wait(20)
        return self.said


@pytest.fixture
def serve(
    settings: Settings, redis: Redis, tmp_path: Path, eventually: Callable[..., object]
) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(**environment: str) -> Served:
        talkative = settings.model_copy(update={"logs": settings.logs.model_copy(update={"level": "debug"})})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        made.append(Served(talkative, tmp_path, port, **environment))
        eventually(made[-1].answers, 30, what="the API")
        return made[-1]

    yield make
    for served in made:
        served.process.kill()
        served.process.wait()


def ask(served: Served, key: str, artifacts: Path) -> list[str]:
    """Sends signed URLs to what answers, refuses, fails and breaks off; returns the secrets in them."""
    headers = {"Authorization": f"Bearer {key}"}
    file = requests.post(f"{served.url}/v1/files", files={"content": b"x" * 100_000}, headers=headers, timeout=9).json()
    signed = file["urls"]["download"]
    assert signed.startswith(served.url)
    query = {name: values[0] for name, values in parse_qs(urlsplit(signed).query).items()}
    signature = urlsplit(signed).query.partition("signature=")[2].partition("&")[0]

    def status(path: str, **facts: object) -> int:
        reply = requests.get(served.url + path, timeout=9, **facts)  # type: ignore[arg-type]
        return reply.status_code

    assert requests.get(signed, timeout=9).content == b"x" * 100_000
    bare = urlsplit(signed).path
    assert status(bare, params={**query, "signature": SECRET}) == 403
    assert status(f"/v1/jobs/{'a' * 26}/output?token={SECRET}") in (401, 403, 404)
    assert status(f"/v1/nothing?token={SECRET}&signature={SECRET}", headers=headers) == 404
    assert status(f"/v1/models?token={SECRET}", headers=headers) == 422, "a query that means nothing there"
    assert requests.put(f"{served.url}{bare}?signature={SECRET}", timeout=9).status_code == 405
    # What hangs up at once, and what is no request at all.
    for line in (f"GET {signed.removeprefix(served.url)} HTTP/1.1", f"GET /v1/files?token={SECRET} HTTP/9.9"):
        with socket.create_connection(served.address, timeout=9) as sock:
            sock.sendall(f"{line}\r\nHost: localhost\r\n\r\n".encode())
    # What fails within, and is logged.
    (content,) = artifacts.glob("files/*/content")
    content.unlink()
    content.mkdir()
    assert requests.get(signed, timeout=9).status_code == 503
    return [SECRET, signature, query["signature"]]


@pytest.mark.parametrize("access_log", ["as up has it", "on"])
def test_queries_of_signed_urls_do_not_get_into_the_log_of_the_api(
    access_log: str, serve: Callable[..., Served], api_key: str, settings: Settings
) -> None:
    served = serve(
        **({"GRANIAN_LOG_ACCESS_ENABLED": "true", "GRANIAN_LOG_LEVEL": "info"} if access_log == "on" else {})
    )
    secrets = ask(served, api_key, settings.data_dir / "artifacts")
    said = served.stop()
    assert "/download\n" in said and "unavailable" in said, "the log has the request that failed"
    assert ('/download HTTP/1.1" 403' in said) is (access_log == "on"), said[-2000:]
    for secret in (*secrets, api_key):
        assert secret not in said
    assert not re.search(r"(?i)(signature|token|expiry)=", said), said[-2000:]
