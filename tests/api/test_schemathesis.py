import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from shared.datasets.dataset import Dataset
from shared.models.version import ModelVersion
from tests.api.conftest import PIXEL

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_schemathesis_finds_nothing(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    api_key: str,
    version: ModelVersion,
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP__MAX_WAIT_SECONDS", "0.1")
    server = request.getfixturevalue("server")
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"version": version.id, "input": {"image": PIXEL}}
    job = requests.post(f"{server.url}/v1/predictions", json=body, headers=headers, timeout=10).json()
    config = (Path(__file__).parent / "schemathesis.toml").read_text()
    (tmp_path / "schemathesis.toml").write_text(config.replace("@VERSION@", version.id).replace("@JOB@", job["id"]))
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", "schemathesis.toml", "run"]
    command += [
        f"{server.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {api_key}",
        "--no-color",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stdout[-20_000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in result.stdout, result.stdout[-20_000:]
