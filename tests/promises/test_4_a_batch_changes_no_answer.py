import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.models.signature import Signature, TensorKind, TensorSpec
from tests.promises.conftest import PLAIN, Stack

TOLERANCE = 1e-5
#: How far the answers of any two rows lie apart, so that a mixed-up answer cannot pass for a right one.
APART = 100 * TOLERANCE
BATCH = 8
SIZES = (1, 3, 1, 1, 20, 2, 1, 7, 1, 5)
"""Rows of the jobs: one, many, and more than a batch."""
NATURAL = ((20, 31), (32, 32), (48, 40), (64, 17), (9, 9))
"""Heights and widths of the pictures."""
LABELS = tuple("abcdefghij")
SMALL_BATCHES = {
    "HEADRACE_BATCHING__MAX_BATCH_ROWS": str(BATCH),
    "HEADRACE_BATCHING__ALLOWED_BATCH_SIZES": "[1,2,4,8]",
    "HEADRACE_INFERENCE__BATCH_TIMEOUT_SECONDS": "120",
}


@dataclass
class Served:
    """A version in the service, rows for it, and what its model answers to each when it is called alone."""

    model: str
    input: str
    rows: list[Any]
    answers: NDArray[Any]
    read: Callable[[Any], NDArray[Any]]
    """The scores in one row of an output, in the model's order."""


def jobs_of(served: Served) -> list[list[int]]:
    """The rows of each job, every row of the pool in one job at least."""
    turn = iter(range(10_000))
    return [[next(turn) % len(served.rows) for _ in range(size)] for size in SIZES]


def post(stack: Stack, served: Served, rows: Sequence[int], **headers: str) -> dict[str, Any]:
    value = [served.rows[row] for row in rows]
    body = {"input": {served.input: value if len(rows) > 1 else value[0]}}
    reply = stack.call("POST", f"/v1/models/{served.model}/predictions", body, **headers)
    assert reply.status_code == 201, reply.text
    job: dict[str, Any] = reply.json()
    return job


def output_of(served: Served, job: dict[str, Any], rows: Sequence[int]) -> NDArray[Any]:
    assert job["status"] == "succeeded", job["error"]
    output = job["output"] if len(rows) > 1 else [job["output"]]
    assert len(output) == len(rows)
    return np.array([served.read(answer) for answer in output])


def test_jobs_of_mixed_sizes_that_share_batches_get_each_its_own_answers(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(**SMALL_BATCHES)
    stack.start_api()
    value = iter(range(1, 10_000))
    posted = [[next(value) for _ in range(size)] for size in SIZES]
    jobs = [stack.post([[x, PLAIN] for x in rows] if len(rows) > 1 else [rows[0], PLAIN]) for rows in posted]
    stack.start_worker()
    for rows, job in zip(posted, jobs, strict=True):
        ended = stack.ended(job["id"])
        assert ended["output"] == ([[2 * x] for x in rows] if len(rows) > 1 else [2 * rows[0]])
    calls = [int(line.split()[2]) for line in (stack.signals / "computed").read_text().splitlines()]
    assert max(calls) == BATCH
    assert stack.get(jobs[0]["id"])["metrics"]["batch_rows"] > 1


@pytest.fixture
def tensorflow_stack(make_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A service whose worker is the product's own, which has not been started yet."""
    stack = make_stack(**SMALL_BATCHES)
    stack.start_api()
    yield stack


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_real_worker_answers_mixed_jobs_as_one_by_one_and_as_the_models_alone(tensorflow_stack: Stack) -> None:
    stack = tensorflow_stack
    models = [pictures(stack), sentences(stack)]
    for served in models:
        distances = np.abs(served.answers[:, None] - served.answers[None]).max(axis=2)
        assert distances[~np.eye(len(served.rows), dtype=bool)].min() >= APART
        assert {row for rows in jobs_of(served) for row in rows} == set(range(len(served.rows)))

    # All of them wait before the first worker lives, so that jobs share batches.
    waiting = [(served, rows, post(stack, served, rows)["id"]) for served in models for rows in jobs_of(served)]
    stack.start_worker(app="workers")
    shared = 0
    for served, rows, job_id in waiting:
        job = stack.ended(job_id, seconds=120)
        assert np.abs(output_of(served, job, rows) - served.answers[rows]).max() <= TOLERANCE
        shared += len(rows) == 1 and job["metrics"]["batch_rows"] > 1
    assert shared >= 6

    for served in models:
        for row in range(len(served.rows)):
            job = post(stack, served, [row], Prefer="wait")
            assert job["metrics"]["batch_rows"] == 1
            assert np.abs(output_of(served, job, [row]) - served.answers[row]).max() <= TOLERANCE


def pictures(stack: Stack) -> Served:
    """A classifier that takes pictures of any size and resizes them itself."""
    import keras

    keras.utils.set_random_seed(10)
    layers = keras.layers
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    value = layers.Resizing(16, 16, antialias=True)(image)
    value = layers.Conv2D(16, 3, activation="relu")(layers.Rescaling(1 / 255)(value))
    value = layers.Dense(32, activation="relu")(layers.Flatten()(layers.MaxPooling2D()(value)))
    # Untrained weights answer everything alike; a wide last layer tells the rows apart.
    wide = keras.initializers.RandomNormal(0, 3)
    scores = layers.Dense(len(LABELS), activation="softmax", kernel_initializer=wide)(value)
    random = np.random.default_rng(7)
    pixels = [
        np.kron(random.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)
        for height, width in NATURAL * 20
    ]
    model, rows, answers = published(
        stack,
        "tests/pictures",
        keras.Model(image, scores),
        Signature(
            (TensorSpec("image", TensorKind.IMAGE, "uint8", (None, None, 3)),),
            (TensorSpec("scores", TensorKind.CATEGORY, "float32", (len(LABELS),)),),
        ),
        pixels,
        labels=LABELS,
    )

    def read(answer: Any) -> NDArray[Any]:
        by_label = {score["label"]: score["score"] for score in answer["scores"]}
        return np.array([by_label[label] for label in LABELS])

    return Served(model, "image", [data_url(row) for row in rows], answers, read)


def sentences(stack: Stack) -> Served:
    """A network over texts of any length that are padded and masked."""
    import keras

    keras.utils.set_random_seed(11)
    wide = keras.initializers.RandomNormal(0, 1.5)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(50, 8, mask_zero=True, embeddings_initializer=wide)(tokens)
    joined = keras.layers.Concatenate()(
        [keras.layers.GRU(8)(embedded), keras.layers.GlobalAveragePooling1D()(embedded)]
    )
    random = np.random.default_rng(8)
    model, rows, answers = published(
        stack,
        "tests/sentences",
        keras.Model(tokens, keras.layers.Dense(4, kernel_initializer=wide)(joined)),
        Signature(
            (TensorSpec("tokens", TensorKind.TENSOR, "int32", (None,), True),),
            (TensorSpec("scores", TensorKind.TENSOR, "float32", (4,)),),
        ),
        [random.integers(1, 50, random.integers(1, 20), np.int32) for _ in range(60)],
    )
    assert len({len(row) for row in rows}) > 5
    return Served(model, "tokens", [row.tolist() for row in rows], answers, np.array)


def published(
    stack: Stack, full_name: str, model: Any, signature: Signature, candidates: Sequence[NDArray[Any]], **fields: Any
) -> tuple[str, list[NDArray[Any]], NDArray[Any]]:
    """Publishes a model, and calls it alone with row after row until enough have answers that lie apart."""
    import tensorflow as tf

    # As a graph, since Keras rounds resized pixels where it is called without one.
    alone = tf.function(lambda rows: model(rows, training=False), reduce_retracing=True)
    rows: list[NDArray[Any]] = []
    answers: list[NDArray[Any]] = []
    for row in candidates:
        answer = alone(tf.constant(row[np.newaxis])).numpy()[0]
        if len(rows) < 16 and all(np.abs(answer - other).max() >= APART for other in answers):
            rows.append(row)
            answers.append(answer)
    assert len(rows) == 16
    owner, name = full_name.split("/")
    file: Path = stack.folder / f"{name}.keras"
    with warnings.catch_warnings():
        # Keras converts its variables in a way that NumPy has deprecated.
        warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
        model.save(file)
    stack.registry.ensure_model(owner, name)
    version = stack.registry.publish(
        owner,
        name,
        {"model.keras": file},
        created_at="2026-01-01T00:00:00.000Z",
        source="import",
        job_id="tests",
        signature=signature,
        **fields,
    )
    stack.registry.move_alias(owner, name, "production", version.id, "tests")
    return full_name, rows, np.array(answers)


def data_url(pixels: NDArray[Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
