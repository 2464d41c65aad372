import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from shared.datasets.dataset import Dataset
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from tests.api.conftest import PIXEL, Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

MIXED = Signature(
    # No whole number among them: JSON schema calls 1.0 one, and we do not.
    inputs=(
        TensorSpec("pair", TensorKind.TENSOR, "float32", (2,)),
        TensorSpec("half", TensorKind.TENSOR, "float16", (1, 2)),
        TensorSpec("flag", TensorKind.TENSOR, "bool", ()),
        TensorSpec("text", TensorKind.TEXT, "string", ()),
    ),
    outputs=(TensorSpec("y", TensorKind.TENSOR, "float32", (1,)),),
)


@pytest.fixture
def server_that_waits_little(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("HEADRACE_HTTP__MAX_WAIT_SECONDS", "0.1")
    made: Server = request.getfixturevalue("server")
    return made


def run(folder: Path, config: str, document: str, key: str, *more: str) -> str:
    """What it prints; everything must be in order."""
    (folder / "schemathesis.toml").write_text(config)
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", "schemathesis.toml", "run", document]
    command += ["--header", f"Authorization: Bearer {key}", "--no-color", *more]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    return result.stdout


def test_schemathesis_finds_nothing(
    server_that_waits_little: Server,
    api_key: str,
    version: ModelVersion,
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    server = server_that_waits_little
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"version": version.id, "input": {"image": PIXEL}}
    job = requests.post(f"{server.url}/v1/predictions", json=body, headers=headers, timeout=10).json()
    config = (Path(__file__).parent / "schemathesis.toml").read_text()
    config = config.replace("@VERSION@", version.id).replace("@JOB@", job["id"])
    printed = run(tmp_path, config, f"{server.url}/openapi.json", api_key)
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in printed, printed[-20_000:]


def test_every_input_that_the_document_of_a_model_allows_is_taken_and_no_other(
    server_that_waits_little: Server,
    api_key: str,
    publish: Callable[..., ModelVersion],
    registry: ModelRegistry,
    tmp_path: Path,
) -> None:
    server = server_that_waits_little
    made = publish(MIXED, name="mixed")
    registry.move_alias("ada", "mixed", "production", made.id, "ada")
    url = f"{server.url}/v1/models/ada/mixed/openapi.json"
    document = requests.get(url, headers={"Authorization": f"Bearer {api_key}"}, timeout=10).json()
    form = document["components"]["schemas"]["NewModelPrediction"]
    form["properties"] = {"input": form["properties"]["input"]}
    # Where several inputs may be one row or many, all must be as many, which a schema cannot say.
    for name, value in document["components"]["schemas"]["Input"]["properties"].items():
        if MIXED.input(name) is not None:
            value.update(value.pop("anyOf")[0])
    path = "/v1/models/ada/mixed/predictions"
    document["paths"] = {path: document["paths"][path]}
    document["paths"][path]["post"]["parameters"] = []
    del document["paths"][path]["post"]["responses"]["201"]["links"]
    (tmp_path / "document.json").write_text(json.dumps(document))
    config = '[generation]\ndeterministic = true\ndatabase = "none"\nmax-examples = 100\n'
    assert "✅ Fuzzing" in run(tmp_path, config, "document.json", api_key, "--url", server.url)
