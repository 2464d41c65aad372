import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from shared.datasets.dataset import Dataset
from shared.models.recipes import IMAGE_CLASSIFIER
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from tests.api.conftest import Server
from tests.compatibility.environments import node_modules, python_with

WIDE = Signature(
    inputs=(TensorSpec("it's", TensorKind.TEXT, "string", ()), TensorSpec("x", TensorKind.TENSOR, "float32", (20, 30))),
    outputs=(TensorSpec("y", TensorKind.TENSOR, "float32", (1,)),),
)


@pytest.fixture
def wide(publish: Callable[..., ModelVersion], registry: ModelRegistry) -> ModelVersion:
    made = publish(WIDE, name="wide")
    registry.move_alias("ada", "wide", "production", made.id, "ada")
    return made


@pytest.fixture
def answered(version: ModelVersion, wide: ModelVersion, finish: Callable[..., int]) -> Iterator[None]:
    """Answers every prediction, as a worker would."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.02):
            for made in (version, wide):
                finish(made.id, b'{"label": "one"}')

    worker = threading.Thread(target=work)
    worker.start()
    yield
    stopped.set()
    worker.join()


@pytest.fixture
def snippets(server: Server, api_key: str) -> Callable[[str, str], list[str]]:
    """What the page of every model prints in one language."""

    def printed(language: str, *paths: str) -> list[str]:
        found = []
        for path in paths:
            reply = requests.get(server.url + path, headers={"Authorization": f"Bearer {api_key}"}, timeout=10)
            operations = [operation for item in reply.json()["paths"].values() for operation in item.values()]
            samples = [sample for operation in operations for sample in operation.get("x-codeSamples", ())]
            found += [sample["source"] for sample in samples if sample["label"] == language]
        assert len(found) == len(paths)
        return found

    return printed


def pages(version: ModelVersion) -> tuple[str, ...]:
    recipe = f"/v1/models/{IMAGE_CLASSIFIER.model}/openapi.json"
    model = f"/v1/models/{version.model}"
    paths = (f"{model}/openapi.json", f"{model}/versions/{version.id}/openapi.json", "/v1/models/ada/wide/openapi.json")
    return (*paths, recipe)


def run(command: list[str], key: str, folder: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "REPLICATE_"))
    }
    result = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "REPLICATE_API_TOKEN": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_snippets_for_curl_run_as_printed(
    snippets: Callable[..., list[str]],
    answered: None,
    dataset: Dataset,
    version: ModelVersion,
    api_key: str,
    tmp_path: Path,
) -> None:
    *predictions, training = [
        run(["bash", "-euo", "pipefail", "-c", source], api_key, tmp_path)
        for source in snippets("curl", *pages(version))
    ]
    for output in predictions:
        assert '"status":"succeeded"' in output and '"output":{"label":"one"}' in output, output
    assert '"kind":"training"' in training and '"status":"starting"' in training, training


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_snippets_for_python_run_as_printed(
    snippets: Callable[..., list[str]],
    answered: None,
    dataset: Dataset,
    version: ModelVersion,
    api_key: str,
    tmp_path: Path,
) -> None:
    python = python_with("requirements-1.txt")
    *predictions, training = [
        run([str(python), "-c", source], api_key, tmp_path) for source in snippets("Python", *pages(version))
    ]
    assert [output.strip() for output in predictions] == ["{'label': 'one'}"] * 3
    assert training.strip().endswith("starting")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_snippets_for_javascript_run_as_printed(
    snippets: Callable[..., list[str]],
    answered: None,
    dataset: Dataset,
    version: ModelVersion,
    api_key: str,
    tmp_path: Path,
    needs: Callable[[str], str],
) -> None:
    node, npm = needs("node"), needs("npm")
    shutil.copytree(node_modules(npm) / "node_modules", tmp_path / "node_modules", symlinks=True)
    outputs = []
    for source in snippets("JavaScript", *pages(version)):
        (tmp_path / "snippet.mjs").write_text(source)
        outputs.append(run([node, "snippet.mjs"], api_key, tmp_path))
    *predictions, training = outputs
    assert [output.strip() for output in predictions] == ["{ label: 'one' }"] * 3
    assert training.strip().endswith("starting")
