import json
import subprocess
import threading
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.claim import Outcome
from shared.jobs.queue import JobQueue, queue_of
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SCRIPT = """
import io, json, sys
import replicate
from replicate.exceptions import ReplicateError

url, key, version = sys.argv[1:]
client = replicate.Client(api_token=key, base_url=url)
value = {"image": "data:image/png;base64,iVBORw0KGgo="}
answer = {"run": client.run("ada/digits", input=value), "run_version": client.run("ada/digits:" + version, input=value)}
made = client.predictions.create(version=version, input=value)
answer["created"] = [made.status, made.output]
made.wait()
answer["waited"] = [made.status, made.output]
answer["got"] = client.predictions.get(made.id).status
answer["listed"] = made.id in [entry.id for entry in client.predictions.list().results]
canceled = client.predictions.create(model="ada/slow", input=value)
canceled.cancel()
answer["canceled"] = canceled.status
errors = []
for call in (
    lambda: client.run("ada/digits", input={"picture": 1}),
    lambda: client.predictions.create(version="0" * 64, input=value),
    lambda: client.predictions.get("nothing"),
    lambda: client.models.get("ada/nothing"),
):
    try:
        call()
    except ReplicateError as error:
        errors.append(error.status)
answer["errors"] = errors
answer["file"] = client.run("ada/digits", input={"image": io.BytesIO(b"png")})
file = client.files.create(io.BytesIO(b"png"), metadata={"a": 1})
answer["kept"] = [file.size, file.metadata, file.expires_at is not None, file.checksums["sha256"] == file.etag]
answer["by_url"] = client.run("ada/digits", input={"image": [file.urls["get"], client.files.get(file.id).urls["get"]]})
answer["files"] = [len(client.files.list()), client.files.delete(file.id), len(client.files.list())]
answer["file_in_base64"] = client.run(
    "ada/digits", input={"image": io.BytesIO(b"png")}, file_encoding_strategy="base64"
)
answer["models"] = sorted(model.name for model in client.models.list().results)
answer["versions"] = [entry.id for entry in client.models.get("ada/digits").versions.list().results]
made = client.models.create("ada", "new", visibility="private", hardware="cpu")
answer["deleted"] = [made.name, client.models.delete("ada", "new")]
recipe = client.models.get("headrace/image-classifier").latest_version
training = client.trainings.create(
    version="headrace/image-classifier:" + recipe.id, input={"dataset": "digits"}, destination="ada/cats"
)
answer["training"] = training.status
training.cancel()
training.reload()
answer["training_canceled"] = training.status
answer["trainings"] = [entry.id for entry in client.trainings.list().results] == [training.id]
answer["account"] = client.accounts.current().username
print(json.dumps(answer))
"""


@pytest.fixture(scope="session")
def stock_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with the stock client."""
    folder = tmp_path_factory.mktemp("stock")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "replicate==1.0.7"], check=True, timeout=300)
    return python


@pytest.fixture
def working(queue: JobQueue, version: ModelVersion) -> Iterator[None]:
    """Something that answers every prediction of a version, as a worker does."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            line = queue_of(version.id, "predict.cpu")
            taken = queue.take(line, "predict.cpu", max_rows=64, max_bytes=1 << 25, hard_seconds=60, solo=True)
            queue.settle(taken.claim, [Outcome(job.id, job.attempt, b'{"label": "one"}') for job in taken.jobs])

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.usefixtures("working", "dataset")
def test_the_stock_client_of_python_works_unmodified(
    stock_python: Path,
    server: Any,
    api_key: str,
    version: ModelVersion,
    publish: Callable[..., ModelVersion],
    registry: ModelRegistry,
) -> None:
    slow = publish(name="slow")
    registry.move_alias("ada", "slow", "production", slow.id, "ada")
    done = subprocess.run(
        [stock_python, "-c", SCRIPT, server.url, api_key, version.id], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    output = {"label": "one"}
    assert json.loads(done.stdout) == {
        "run": output,
        "run_version": output,
        "created": ["starting", None],
        "waited": ["succeeded", output],
        "got": "succeeded",
        "listed": True,
        "canceled": "canceled",
        "errors": [422, 422, 404, 404],
        "file": output,
        "kept": [3, {"a": 1}, True, True],
        "by_url": output,
        "files": [2, True, 1],
        "file_in_base64": output,
        "models": ["digits", "image-classifier", "slow"],
        "versions": [version.id],
        "deleted": ["new", True],
        "training": "starting",
        "training_canceled": "canceled",
        "trainings": True,
        "account": "ada",
    }
