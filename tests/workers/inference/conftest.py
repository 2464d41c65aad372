"""Models for the tests of the inference engine: a NumPy one that records its calls, and two small Keras ones."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import Settings

LABELS = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class NumpyModel:
    """Computes with a function on arrays and keeps the shapes of every call."""

    def __init__(
        self,
        signature: Signature,
        function: Callable[..., Any],
        labels: tuple[str, ...] | None = None,
        memory_bytes: int = 0,
        version_id: str = "0" * 64,
    ) -> None:
        self.version_id = version_id
        self.signature = signature
        self.labels = labels
        self.memory_bytes = memory_bytes
        self.function = function
        self.calls: list[dict[str, np.ndarray]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        self.calls.append(dict(inputs))
        outputs = self.function(*(inputs[spec.name] for spec in self.signature.inputs))
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        return {spec.name: values for spec, values in zip(self.signature.outputs, outputs, strict=True)}


@pytest.fixture(scope="session")
def numpy_model() -> type[NumpyModel]:
    return NumpyModel


@pytest.fixture(scope="session")
def signature_of() -> Callable[..., Signature]:
    """A signature from ``name=(kind, dtype, shape[, pads])`` of the inputs and the shape of a float output."""

    def make(output: tuple[int | None, ...] = (), **inputs: Any) -> Signature:
        specs = [TensorSpec(name, TensorKind(kind), dtype, *rest) for name, (kind, dtype, *rest) in inputs.items()]
        return Signature(tuple(specs), (TensorSpec("output", TensorKind.TENSOR, "float32", output),))

    return make


@pytest.fixture(scope="session")
def classifier_signature() -> Signature:
    return Signature(
        (TensorSpec("image", TensorKind.IMAGE, "uint8", (32, 32, 3)),),
        (TensorSpec("scores", TensorKind.CATEGORY, "float32", (10,)),),
    )


@pytest.fixture(scope="session")
def text_signature() -> Signature:
    return Signature(
        (TensorSpec("tokens", TensorKind.TENSOR, "int32", (None,), True),),
        (TensorSpec("scores", TensorKind.TENSOR, "float32", (4,)),),
    )


@pytest.fixture(scope="session")
def data_url() -> Callable[..., str]:
    """An image as data URL; of an array, or of a Pillow image with the options of its ``save``."""

    def make(image: Any, kind: str = "PNG", **options: Any) -> str:
        stream = io.BytesIO()
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
        return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()

    return make


@pytest.fixture(scope="session")
def version_of() -> Callable[..., ModelVersion]:
    """A version that exists in memory only."""

    def make(signature: Signature, name: str = "model", file_bytes: int = 1, **fields: Any) -> ModelVersion:
        return ModelVersion(
            owner="test",
            name=name,
            created_at="2026-01-01T00:00:00Z",
            source="import",
            job_id="a",
            files={"model.keras": {"sha256": "0" * 64, "bytes": file_bytes}},
            signature=signature,
            **fields,
        )

    return make


@pytest.fixture(scope="session")
def cnn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CIFAR-10 network of the tutorials with seeded weights, saved."""
    import keras

    keras.utils.set_random_seed(10)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((32, 32, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            # Untrained weights answer everything alike; a wide last layer tells the rows of the tests apart.
            layers.Dense(10, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(0, 3)),
        ]
    )
    return _saved(model, tmp_path_factory)


@pytest.fixture(scope="session")
def cnn(cnn_folder: Path, classifier_signature: Signature, version_of: Any) -> Any:
    """That network, loaded as a worker does."""
    from workers.inference.predictor import load

    return load(version_of(classifier_signature, labels=LABELS), cnn_folder, Settings())


@pytest.fixture(scope="session")
def text_models(tmp_path_factory: pytest.TempPathFactory, text_signature: Signature, version_of: Any) -> Any:
    """One network over masked tokens, and the same weights with the mask dropped."""
    import keras

    from workers.inference.predictor import load

    def build(mask_zero: bool) -> Any:
        keras.utils.set_random_seed(11)
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        wide = keras.initializers.RandomNormal(0, 1.5)
        embedded = keras.layers.Embedding(50, 8, mask_zero=mask_zero, embeddings_initializer=wide)(tokens)
        read = keras.layers.GRU(8)(embedded)
        mean = keras.layers.GlobalAveragePooling1D()(embedded)
        joined = keras.layers.Concatenate()([read, mean])
        return keras.Model(tokens, keras.layers.Dense(4, kernel_initializer=wide)(joined))

    version = version_of(text_signature)
    return tuple(load(version, _saved(build(mask), tmp_path_factory), Settings()) for mask in (True, False))


def _saved(model: Any, folders: pytest.TempPathFactory) -> Path:
    folder = folders.mktemp("version")
    with warnings.catch_warnings():
        # Keras converts its variables in a way that NumPy has deprecated.
        warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
        model.save(folder / "model.keras")
    return folder
