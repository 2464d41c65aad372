"""Computes with one Keras model: arrays in, arrays out, through a function compiled once.

``model.predict`` costs 50 ms and more a call; one ``tf.function`` whose input signature leaves the batch axis open is
traced once for every batch size and costs less than one.
"""

import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.models.signature import Signature
from shared.models.version import ModelVersion
from shared.settings import Settings

#: What a model takes in memory, in sizes of its weights: the weights, and constants and buffers made of them.
WEIGHTS_FACTOR = 2

_alive: "weakref.WeakSet[Predictor]" = weakref.WeakSet()
_is_prepared = False
_preparing = threading.Lock()


class Predictor:
    """A version whose model is in memory and compiled.

    Args:
        version_id: Of the version.
        model: The functional or sequential model.
        signature: Its inputs and outputs, in the model's order.
        labels: Of a classifier.
    """

    def __init__(self, version_id: str, model: Any, signature: Signature, labels: Sequence[str] | None) -> None:
        self.version_id = version_id
        self.signature = signature
        self.labels = labels
        self.memory_bytes = WEIGHTS_FACTOR * sum(
            int(np.prod(weight.shape)) * _bytes_of(weight.dtype) for weight in model.weights
        )
        self._model = model  # its variables and tables live as long as it does
        self._compiled = _compiled(model, signature)
        _alive.add(self)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Computes all rows at once; arrays by name, rows first."""
        tensors = [tf.constant(inputs[spec.name]) for spec in self.signature.inputs]
        outputs = self._compiled(*tensors)
        return {spec.name: value.numpy() for spec, value in zip(self.signature.outputs, outputs, strict=True)}


def prepare(settings: Settings) -> None:
    """Starts TensorFlow's runtime as the settings say; only the first call counts, it cannot be changed afterwards."""
    global _is_prepared
    with _preparing:
        if _is_prepared:
            return
        threads = settings.inference.threads
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
        tf.zeros(1).numpy()
        _is_prepared = True


def load(version: ModelVersion, folder: Path, settings: Settings) -> Predictor:
    """Loads the model of a version out of a folder with its verified files."""
    prepare(settings)
    if not _alive:
        # Keras keeps names and graphs of models that are gone; forgetting them is safe only while none is in use.
        keras.backend.clear_session()
    model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    return Predictor(version.id, model, version.signature, version.labels)


def _compiled(model: Any, signature: Signature) -> Any:
    specs = [
        tf.TensorSpec([None, *spec.shape], spec.dtype, name=f"input_{n}") for n, spec in enumerate(signature.inputs)
    ]

    def call(*tensors: Any) -> list[Any]:
        cast = [_as(tensor, wanted.dtype) for tensor, wanted in zip(tensors, model.inputs, strict=True)]
        # A functional model may take its inputs as list or dictionary; a sequential one takes the one it has.
        packed = cast[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, cast)
        outputs = keras.tree.flatten(model(packed, training=False))
        if len(outputs) != len(signature.outputs):
            raise ValueError(f"the model has {len(outputs)} outputs, its signature {len(signature.outputs)}")
        # NumPy, hence JSON, does not know bfloat16.
        return [_as(output, "float32") if output.dtype == tf.bfloat16 else output for output in outputs]

    return tf.function(call, input_signature=specs, autograph=False).get_concrete_function()


def _as(tensor: Any, dtype: str) -> Any:
    return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def _bytes_of(dtype: str) -> int:
    return int(tf.as_dtype(dtype).size)
