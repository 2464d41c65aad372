import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.compatibility.certificate import make_certificate

pytestmark = pytest.mark.long


@pytest.fixture
def certificate(tmp_path: Path, needs: Callable[[str], str]) -> tuple[Path, Path]:
    """Made for another name than the address that the commands use."""
    return make_certificate(tmp_path / "tls", needs("openssl"), "DNS:models.example.org")


@pytest.fixture
def folder(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Path]:
    folder = tmp_path / "data"
    with (tmp_path / "output").open("w") as output:
        command = [sys.executable, "-m", "cli", "up", "--port", "0", "--data-dir", str(folder)]
        process = subprocess.Popen(command, env=environment(*certificate), stdout=output, stderr=output)
    until = time.monotonic() + 60
    while not (folder / "address").exists():
        assert process.poll() is None and time.monotonic() < until, (tmp_path / "output").read_text()
        time.sleep(0.05)
    yield folder
    process.send_signal(signal.SIGINT)
    process.wait(30)


def environment(certificate: Path | None = None, key: Path | None = None, **more: str) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")} | more
    if certificate and key:
        found |= {"HEADRACE_HTTP__TLS_CERTIFICATE": str(certificate), "HEADRACE_HTTP__TLS_KEY": str(key)}
    return found


def run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *words, "--data-dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_up_serves_https_and_the_commands_know_its_certificate_whatever_its_name(
    folder: Path, certificate: tuple[Path, Path], tmp_path: Path, needs: Callable[[str], str]
) -> None:
    address = (folder / "address").read_text().strip()
    assert address.startswith("https://127.0.0.1:")
    listed = run(folder, environment(*certificate), "models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[0]["url"].startswith(address)

    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError):
            session.get(address + "/livez", timeout=10)

    stranger = run(folder, environment(), "models", "list")
    assert stranger.returncode == 1
    assert "is not trusted; name who signed it in HEADRACE_CLIENT__CA_FILE" in stranger.stderr
    another = make_certificate(tmp_path / "another", needs("openssl"))
    assert run(folder, environment(*another), "models", "list").returncode == 1


@pytest.mark.parametrize("what", ["missing", "of another certificate", "in another form"])
def test_up_refuses_a_key_that_cannot_serve(
    what: str, tmp_path: Path, certificate: tuple[Path, Path], needs: Callable[[str], str]
) -> None:
    key = tmp_path / "other.pem"
    if what == "of another certificate":
        _, key = make_certificate(tmp_path / "other", needs("openssl"))
    elif what == "in another form":
        subprocess.run([needs("openssl"), "ec", "-in", certificate[1], "-out", key], check=True, capture_output=True)
    refused = run(tmp_path / "none", environment(certificate[0], key), "up", "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert ("PKCS#8" if what == "in another form" else "HTTPS cannot be served") in refused.stderr
