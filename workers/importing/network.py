"""Turns a foreign network into one that can be served: inputs as callers send them, outputs as they read them.

    input ─> as text or floats ─> scale, mean, std ─> the foreign network, never training ─> softmax ─> scores

What is added is layers of the saved model, so that whoever loads the version needs to know nothing about it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shared.errors import ImportRefused
from shared.models.signature import OPTION_NAMES, Signature, TensorKind, TensorSpec

FAILED = "E1502"
"""Code of what fails in the sandbox, beside what is refused."""

_AUTOMATIC = re.compile(r"(keras_tensor|input|input_layer|inputs|.+_input)(_?\d+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_MARKS = re.compile(r"\{\{[^{}]*\}\}\s*")
_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "string", "uint16"}
) | {
    "uint32",
    "uint64",
    "uint8",
}
_IMAGE_CHANNELS = (1, 3, 4)
_LEAST_IMAGE_SIDE = 8
_LEAST_SQUARE_SIDE = 16


@dataclass(frozen=True)
class Normalisation:
    """What a caller says a network needs done to its input: ``(x * scale - mean) / std``."""

    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __bool__(self) -> bool:
        return self != Normalisation()

    def applied(self, value: float) -> list[float]:
        """What becomes of a value, channel by channel."""
        means, stds = self.mean or (0.0,), self.std or (1.0,)
        count = max(len(means), len(stds))
        scaled = value * (1.0 if self.scale is None else self.scale)
        return [(scaled - means[n % len(means)]) / stds[n % len(stds)] for n in range(count)]


@dataclass(frozen=True)
class Served:
    """A network with everything around it, and its signature."""

    model: Any
    signature: Signature
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def load_network(path: Path) -> Any:
    """Loads a scanned file in safe mode, without what it was compiled with.

    Raises:
        ImportRefused: Keras cannot load it, or it is no network with inputs of known form.
    """
    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:
        raise_if_exhausted(error)
        advice = "" if path.suffix == ".keras" else "; save it with model.save('model.keras') and try that"
        raise ImportRefused(f"Keras cannot load the file{advice} ({first_line(error)})", FAILED) from error
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise ImportRefused("the network does not say the shape of its inputs; build or call it before saving")
    return network


def wrap(network: Any, normalisation: Normalisation) -> Served:
    """Puts a network behind inputs as callers send them, without a head yet."""
    specs = _input_specs(network)
    if normalisation:
        _check_normalisation(normalisation, specs)
    inputs = [keras.Input(spec.shape, dtype=spec.dtype, name=spec.name) for spec in specs]
    prepared = [
        _prepared(given, spec, wanted, normalisation)
        for given, spec, wanted in zip(inputs, specs, network.inputs, strict=True)
    ]
    is_chain = isinstance(network, keras.Sequential)
    given = prepared[0] if is_chain else keras.tree.pack_sequence_as(network.input, prepared)
    outputs = keras.tree.flatten(network(given, training=False))
    signature = Signature(tuple(specs), _output_specs(network, outputs))
    parameters = {name: value for name, value in vars(normalisation).items() if value is not None}
    return Served(_model(inputs, outputs), signature, parameters)


def add_head(served: Served, network: Any, labels: Sequence[str], answers: Any) -> Served:
    """Makes the one output scores of labels: a probability for each.

    Args:
        served: What ``wrap`` made.
        network: The foreign network, whose last activation tells what its numbers are.
        labels: One for each score.
        answers: What it answered to samples, rows first.
    """
    spec = check_labels(served.signature, labels)
    activation = _last_activation(network)
    parameters, warnings = dict(served.parameters), list(served.warnings)
    scores = served.model.outputs[0]
    if spec.shape == (1,):
        if activation != "sigmoid":
            scores = keras.layers.Activation("sigmoid", dtype="float32", name="served_sigmoid")(scores)
            parameters["sigmoid"] = True
            warnings.append(f"the last layer ends in {activation or 'no activation'}, so a sigmoid was added")
        other = keras.layers.Rescaling(-1.0, 1.0, dtype="float32", name="served_complement")(scores)
        scores = keras.layers.Concatenate(dtype="float32", name="served_pair")([other, scores])
        parameters["complement"] = True
    elif activation == "sigmoid" and not _are_shares(answers):
        warnings.append("the last layer ends in sigmoid: each label is scored by itself and scores do not sum to 1")
    elif activation != "softmax" and not _are_shares(answers):
        scores = keras.layers.Softmax(dtype="float32", name="served_softmax")(scores)
        parameters["softmax"] = True
        warnings.append(f"the last layer ends in {activation or 'no activation'}, so a softmax was added")
    output = TensorSpec("scores", TensorKind.CATEGORY, str(scores.dtype), (len(labels),))
    signature = replace(served.signature, outputs=(output,))
    return Served(_model(served.model.inputs, [scores]), signature, parameters, tuple(warnings))


def check_labels(signature: Signature, labels: Sequence[str]) -> TensorSpec:
    """The output that the labels are for; refuses labels that do not fit."""
    if len(signature.outputs) != 1:
        raise ImportRefused(f"labels name the scores of one output, but the network has {len(signature.outputs)}")
    output = signature.outputs[0]
    if output.rank != 1 or output.shape[0] is None:
        raise ImportRefused(f"labels name the scores of a list, but the network answers shape {list(output.shape)}")
    scores = output.shape[0]
    if scores != len(labels) and not (scores == 1 and len(labels) == 2):
        raise ImportRefused(f"{len(labels)} labels were given, but the network answers {scores} scores")
    return output


def raise_if_exhausted(error: Exception) -> None:
    """Raises ``MemoryError`` where TensorFlow has a word of its own for it."""
    if type(error).__name__ == "ResourceExhaustedError":
        raise MemoryError from error


def first_line(error: Exception) -> str:
    """The beginning of an error's text, for people: without TensorFlow's marks of where in a graph it happened."""
    text = _MARKS.sub("", str(error)).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def layers_of(network: Any) -> list[Any]:
    """All layers of a network, those of networks inside it too."""
    found = []
    for layer in getattr(network, "layers", ()):
        found += [layer, *layers_of(layer)]
    return found


def _input_specs(network: Any) -> list[TensorSpec]:
    several = len(network.inputs) > 1
    specs: list[TensorSpec] = []
    for number, tensor in enumerate(network.inputs, 1):
        shape, dtype = _row_shape(tensor, "input"), str(tensor.dtype)
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise ImportRefused("the network takes sparse or ragged inputs, which cannot be sent")
        kind = _kind(shape, dtype)
        if kind is TensorKind.TEXT and shape == (1,):
            shape = ()
        if kind is TensorKind.IMAGE and len(shape) == 2:
            shape = (*shape, 1)
        if kind is TensorKind.IMAGE and dtype not in ("float32", "uint8"):
            dtype = "float32" if dtype.startswith(("float", "bfloat")) else "uint8"
        name = str(tensor.name)
        if _AUTOMATIC.fullmatch(name):
            word = "input" if kind is TensorKind.TENSOR else kind.value
            name = f"{word}_{number}" if several else word
        specs.append(TensorSpec(name, kind, _sent_dtype(dtype), shape))
    names = [spec.name for spec in specs]
    for name in names:
        if name in OPTION_NAMES:
            raise ImportRefused(f"the network has an input called {name}, which is an option of every prediction")
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise ImportRefused(f"the network has an input whose name cannot be sent: {name[:100]!r}")
    return specs


def _output_specs(network: Any, outputs: Sequence[Any]) -> tuple[TensorSpec, ...]:
    names = [str(name).replace("/", "_") for name in getattr(network, "output_names", ())]
    if len(outputs) == 1:
        names = ["output"]
    elif len(set(names)) != len(outputs) or not all(_NAME.fullmatch(name) for name in names):
        names = [f"output_{number}" for number in range(1, len(outputs) + 1)]
    specs = []
    for name, tensor in zip(names, outputs, strict=True):
        dtype = "float32" if str(tensor.dtype) == "bfloat16" else str(tensor.dtype)
        if dtype == "string" or dtype not in _DTYPES:
            raise ImportRefused(f"the network answers {dtype}, which is no number")
        specs.append(TensorSpec(name, TensorKind.TENSOR, dtype, _row_shape(tensor, "output")))
    return tuple(specs)


def _row_shape(tensor: Any, what: str) -> tuple[int | None, ...]:
    shape = tensor.shape
    if shape is None or len(shape) == 0:
        raise ImportRefused(f"the network has an {what} without a batch axis")
    if shape[0] is not None:
        raise ImportRefused(f"the network has an {what} for exactly {shape[0]} rows; save it with a batch size of None")
    return tuple(shape[1:])


def _kind(shape: tuple[int | None, ...], dtype: str) -> TensorKind:
    if dtype == "string":
        if shape not in ((), (1,)):
            raise ImportRefused(f"the network takes texts of shape {list(shape)}; one text a row can be sent")
        return TensorKind.TEXT
    if dtype.startswith(("bool", "int64", "uint64")):
        return TensorKind.TENSOR
    if len(shape) == 3 and shape[2] in _IMAGE_CHANNELS:
        is_image = all(side is None or side >= _LEAST_IMAGE_SIDE for side in shape[:2])
    else:  # a square without channels, as the MNIST tutorials have it
        is_image = len(shape) == 2 and shape[0] is not None and shape[0] == shape[1] and shape[0] >= _LEAST_SQUARE_SIDE
    return TensorKind.IMAGE if is_image else TensorKind.TENSOR


def _sent_dtype(dtype: str) -> str:
    if dtype == "bfloat16":
        return "float32"
    if dtype not in _DTYPES:
        raise ImportRefused(f"the network takes {dtype}, which cannot be sent")
    return dtype


def _check_normalisation(normalisation: Normalisation, specs: Sequence[TensorSpec]) -> None:
    spec = specs[0]
    if len(specs) != 1 or spec.kind is TensorKind.TEXT or (spec.kind is TensorKind.TENSOR and spec.dtype[0] != "f"):
        raise ImportRefused("scale, mean and std are for a network with one input of images or floats")
    channels = spec.shape[-1] if spec.shape else 1
    for word, values in (("mean", normalisation.mean), ("std", normalisation.std)):
        if values is not None and len(values) not in (1, channels):
            raise ImportRefused(f"{word} has {len(values)} values, but the input has {channels} channels")


def _prepared(given: Any, spec: TensorSpec, wanted: Any, normalisation: Normalisation) -> Any:
    if normalisation:
        # x * (scale / std) - mean / std; one number where all channels share it, since the layer keeps it as it is.
        means, stds = np.array(normalisation.mean or (0.0,)), np.array(normalisation.std or (1.0,))
        factors = (1.0 if normalisation.scale is None else normalisation.scale) / stds
        scale, offset = (float(part[0]) if len(part) == 1 else part.tolist() for part in (factors, -means / stds))
        given = keras.layers.Rescaling(scale, offset, dtype="float32", name="served_normalisation")(given)
    if str(given.dtype) != str(wanted.dtype):
        given = keras.ops.cast(given, wanted.dtype)
    if len(given.shape) != len(wanted.shape):
        given = keras.layers.Reshape(wanted.shape[1:], name=f"served_{spec.name}")(given)
    return given


def _model(inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    return keras.Model(
        inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0], name="served"
    )


def _last_activation(network: Any) -> str | None:
    """Name of the activation that the one output comes out of, ``None`` where it is none that is known."""
    layer = network.outputs[0]._keras_history.operation
    if isinstance(layer, keras.Model):
        return _last_activation(layer)
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", None) or type(layer).__name__.lower()
    return name if name in ("sigmoid", "softmax", "relu", "tanh", "log_softmax", "linear") else None


def _are_shares(answers: Any) -> bool:
    return bool((answers >= -1e-3).all() and np.allclose(answers.sum(axis=-1), 1.0, atol=1e-2))
