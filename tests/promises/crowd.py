"""What the tests of overload share: a slow engine, direct submissions, and the batches that were begun."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from shared.models.signature import Signature
from tests.promises.conftest import MODEL, PLAIN, SIGNATURE, Stack

POOL = "predict.cpu"


def slow_down(stack: Stack, version: str, seconds: float) -> None:
    """Makes each batch of a version take so long, and note its values when it begins."""
    (stack.signals / f"pause-{version}").write_text(str(seconds))


def another_model(stack: Stack, name: str) -> str:
    """Publishes ``acme/{name}``; its version's id."""
    stack.registry.ensure_model("acme", name)
    version = stack.registry.publish(
        "acme",
        name,
        {"model.keras": Path(stack.folder / "model.keras")},
        created_at="2026-01-01T00:00:00.000Z",
        source="import",
        job_id=f"tests-{name}",
        signature=Signature.from_json(SIGNATURE),
    ).id
    stack.registry.move_alias("acme", name, "production", version, "tests")
    return version


def submit(stack: Stack, values: Sequence[int], account: str = "acme", version: str = "", **fields: Any) -> str:
    """Submits one job of so many rows past the API, as quick as can be; its id."""
    version = version or stack.version
    rows = ",".join(f"[{value},{PLAIN}]" for value in values)
    text = rows if len(values) == 1 else f"[{rows}]"
    new = NewJob(
        id=new_job_id(),
        kind=JobKind.PREDICTION,
        account=account,
        key_id="tests",
        queue=queue_of(version, POOL),
        pool=POOL,
        input=f'{{"x":{text}}}'.encode(),
        rows=len(values),
        model=MODEL,
        version=version,
        **fields,
    )
    return stack.queue.submit(new).id


def batches(stack: Stack, version: str = "") -> list[list[int]]:
    """The values of each batch of a version that was begun, in order."""
    log = stack.signals / "batches"
    lines = log.read_text().splitlines() if log.exists() else []
    parts = [line.split() for line in lines]
    return [[int(value) for value in values] for of, *values in parts if of == (version or stack.version)]


def batches_before(stack: Stack, value: int, begun: int) -> int:
    """How many more batches had been begun, than those so many, before the one with a value."""
    return next(place for place, values in enumerate(batches(stack)) if value in values) - begun
