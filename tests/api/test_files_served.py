import io
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from flask.testing import FlaskClient

from cli.multipart import MultipartFile

MEGABYTES = 100


def peak_bytes(pid: int) -> int:
    """The most memory that a process and its children ever held."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        status = Path(f"/proc/{process.pid}/status").read_text()
        total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return total


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for _ in range(MEGABYTES):
            file.write(os.urandom(1 << 20))
    return path


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_flat_while_the_largest_file_is_uploaded_and_downloaded(
    server: Any, api_key: str, sent: Path
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}

    def push(path: Path) -> requests.Response:
        with MultipartFile({}, path, part="content") as body:
            kind = {"Content-Type": body.content_type}
            return requests.post(f"{server.url}/v1/files", data=body, headers={**headers, **kind}, timeout=60)

    small = sent.with_name("small.bin")
    small.write_bytes(b"x" * 1000)
    requests.get(push(small).json()["urls"]["download"], timeout=60).raise_for_status()
    before = peak_bytes(server.process.pid)
    file = push(sent)
    assert file.status_code == 201, file.text
    with requests.get(file.json()["urls"]["download"], stream=True, timeout=60) as reply, sent.open("rb") as whole:
        for block in reply.iter_content(1 << 20):
            assert block == whole.read(len(block))
        assert whole.read() == b""
    with sent.open("ab") as more:
        more.write(b"x")
    refused = push(sent)
    assert (refused.status_code, refused.json()["detail"]) == (413, "Files must be less than 100MB in size")
    assert peak_bytes(server.process.pid) - before < 24 << 20


def test_a_link_that_one_process_made_opens_at_another(server: Any, api_key: str, anonymous: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    content = {"content": ("cat.png", io.BytesIO(b"bytes"))}
    file = requests.post(f"{server.url}/v1/files", files=content, headers=headers, timeout=30).json()
    assert anonymous.get(file["urls"]["download"].removeprefix(server.url)).data == b"bytes"
