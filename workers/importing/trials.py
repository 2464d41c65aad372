"""Tries a network the way it will be served, and refuses what would break a promise.

An answer must not depend on the other rows of a call, on chance, or, where rows are padded, on the padding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.errors import ImportRefused
from shared.models.signature import Signature, TensorKind, TensorSpec
from workers.importing.network import FAILED, first_line, layers_of, raise_if_exhausted
from workers.importing.samples import COUNT, one_row, samples, tiled, with_length

Rows = Mapping[str, NDArray[Any]]
Answers = list[NDArray[Any]]

_SIZES = (16, 32, 64, 128, 224, 256)
"""Lengths tried for axes of any size; a network with many strides needs the larger ones."""

_LEAST_IMAGE_SIZE = 64
"""Smaller images may leave nothing after the strides, and TensorFlow's average over nothing is not an error."""

_MOST_IDS = 1000
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4
_SATURATED = 0.999
_SCALING = frozenset({"Normalization", "Rescaling"})


class Trial:
    """A network, compiled as it will be served, and rows to try it with.

    Args:
        model: With the inputs of the signature, in order.
        signature: Its inputs and outputs.

    Raises:
        ImportRefused: It answers no sample that was made for it.
    """

    def __init__(self, model: Any, signature: Signature) -> None:
        self.signature = signature
        layers = [layer for layer in layers_of(model) if layer.name != "served_complement"]
        self.scales_itself = any(type(layer).__name__ in _SCALING for layer in layers)
        """Whether the network brings its numbers into a range by itself."""
        self._run = _compiled(model, signature.inputs)
        self._ids_below = _ids_below(model)
        self.size = self._least_size()
        self.rows = samples(signature.inputs, self.size, self._ids_below)
        self.alone: list[Answers] = [self.run(one_row(self.rows, row)) for row in range(COUNT)]
        """What each row is answered in a call of its own."""

    def run(self, rows: Rows) -> Answers:
        """Answers to rows, an array for each output."""
        try:
            outputs = self._run(*(tf.constant(rows[spec.name]) for spec in self.signature.inputs))
        except MemoryError:
            raise
        except Exception as error:
            raise_if_exhausted(error)
            raise ImportRefused(f"the network fails on a sample: {first_line(error)}", FAILED) from error
        return [output.numpy() for output in outputs]

    @property
    def answers(self) -> Answers:
        """The answers of all rows, each computed alone, stacked."""
        return [np.concatenate(parts) for parts in zip(*self.alone, strict=True)]

    def check_batches(self, sizes: Sequence[int]) -> None:
        """Runs every allowed batch size and compares each row's answer with its answer alone."""
        again = self.run(one_row(self.rows, 0))
        if not all(_are_close(*pair) for pair in zip(again, self.alone[0], strict=True)):
            raise ImportRefused(
                "the network answers the same input differently each time; remove layers that add chance"
            )
        for size in sizes:
            for output, alone in zip(self.run(tiled(self.rows, size)), self.answers, strict=True):
                if len(output) != size:
                    raise ImportRefused(f"the network answers {len(output)} rows to {size}")
                if not _are_close(output, alone[np.arange(size) % COUNT]):
                    raise ImportRefused(
                        "the network's answer to a row changes with the other rows of a batch; a text network needs "
                        "output_sequence_length in its TextVectorization, or mask_zero=True in its Embedding"
                    )

    def check_finite(self) -> None:
        """Refuses a network that has no number for any sample."""
        if not any(np.isfinite(output).all() for answers in self.alone for output in answers):
            raise ImportRefused("the network answers every sample with numbers that are not finite")

    def with_proven_padding(self) -> Signature:
        """The signature, its inputs of any size marked where zeros behind a row were seen to change nothing."""
        may_pad = [spec.kind is TensorKind.TENSOR and not spec.is_fixed for spec in self.signature.inputs]
        if not any(may_pad) or not all(spec.is_fixed for spec in self.signature.outputs) or not self._pads():
            return self.signature
        inputs = (replace(spec, pads=pads) for spec, pads in zip(self.signature.inputs, may_pad, strict=True))
        return replace(self.signature, inputs=tuple(inputs))

    def _pads(self) -> bool:
        specs = [spec for spec in self.signature.inputs if not spec.is_fixed]
        if any(spec.kind is not TensorKind.TENSOR for spec in specs):
            return False
        fixed = {spec.name: self.rows[spec.name] for spec in self.signature.inputs if spec.is_fixed}
        longest = max(32, 2 * self.size)
        long_rows = samples(specs, longest, self._ids_below)
        try:
            for row, length in enumerate((3, 5, 8, 13, self.size, longest // 2)):
                bare = {**fixed, **with_length(long_rows, specs, length)}
                alone = self.run(one_row(bare, row))
                for padded in (length + 1, 2 * length, 4 * length, longest):
                    rows = {**fixed, **with_length(bare, specs, max(padded, length))}
                    if not all(_are_close(*pair) for pair in zip(self.run(one_row(rows, row)), alone, strict=True)):
                        return False
        except ImportRefused:  # it cannot take some length at all
            return False
        return self._differ()

    def _differ(self) -> bool:
        # Equal answers prove nothing where all answers are equal.
        return any(
            np.ptp(output.astype(np.float64), axis=0).max(initial=0) > 100 * _ABSOLUTE for output in self.answers
        )

    def _least_size(self) -> int:
        if all(spec.is_fixed for spec in self.signature.inputs):
            return _SIZES[0]
        has_image = any(spec.kind is TensorKind.IMAGE for spec in self.signature.inputs)
        refusal = ImportRefused("the network takes no length that was tried")
        for size in (size for size in _SIZES if size >= _LEAST_IMAGE_SIZE or not has_image):
            try:
                self.run(one_row(samples(self.signature.inputs, size, self._ids_below), 0))
                return size
            except ImportRefused as error:
                refusal = error
        raise refusal


def range_warnings(trial: Trial, labels: Sequence[str] | None, is_scaled: bool) -> list[str]:
    """What looks as if the network expected another range of numbers than it gets."""
    spec, answers = trial.signature.inputs[0], trial.answers[0].astype(np.float64)
    is_image = spec.kind is TensorKind.IMAGE and len(trial.signature.inputs) == 1
    advice = (
        "it may not want the scale, mean or std that it was given"
        if is_scaled
        else "if it expects another range than 0 to 255, say so, for example with --scale 1/255"
    )
    if labels is not None and is_image and len(set(answers.argmax(axis=1))) == 1:
        label = labels[int(answers[0].argmax())]
        return [f"every sample image is answered alike ({label!r}): the network may get the wrong range; {advice}"]
    if np.ptp(answers, axis=0).max(initial=0) < _ABSOLUTE:
        return [f"every sample is answered alike{': ' + advice if is_image else ''}"]
    if labels is None or not is_image or trial.scales_itself or spec.dtype != "float32":
        return []
    small = np.concatenate(
        [trial.run({spec.name: one_row(trial.rows, row)[spec.name] / np.float32(255)})[0] for row in range(COUNT)]
    )
    if (answers.max(axis=1) > _SATURATED).mean() > 0.9 and (small.max(axis=1) > _SATURATED).mean() < 0.5:
        return [f"the network is utterly sure of its answer to every sample image: {advice}"]
    return []


def _compiled(model: Any, specs: Sequence[TensorSpec]) -> Callable[..., Any]:
    signature = [tf.TensorSpec([None, *spec.shape], spec.dtype, name=f"input_{n}") for n, spec in enumerate(specs)]

    def call(*tensors: Any) -> list[Any]:
        outputs = keras.tree.flatten(model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))
        return [tf.cast(output, tf.float32) if output.dtype == tf.bfloat16 else output for output in outputs]

    try:
        compiled: Callable[..., Any] = tf.function(
            call, input_signature=signature, autograph=False
        ).get_concrete_function()
    except Exception as error:
        raise_if_exhausted(error)
        raise ImportRefused(f"the network cannot be compiled: {first_line(error)}", FAILED) from error
    return compiled


def _ids_below(model: Any) -> int:
    """Whole numbers below it are known to every table that a network looks numbers up in."""
    sizes = [
        size
        for layer in layers_of(model)
        for size in (getattr(layer, "input_dim", None), getattr(layer, "num_tokens", None))
        if isinstance(size, int) and size > 0
    ]
    return min([*sizes, _MOST_IDS])


def _are_close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    coarse = one.dtype == np.float16
    relative, absolute = (10 * _RELATIVE, 100 * _ABSOLUTE) if coarse else (_RELATIVE, _ABSOLUTE)
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), relative, absolute, equal_nan=True))
