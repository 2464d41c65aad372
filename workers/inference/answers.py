"""Turns what a model gave for the rows of one call into the JSON that callers see."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.models.signature import Signature


class AnswerOptions(Protocol):
    """How a caller wants a classifier's answer."""

    @property
    def top_k(self) -> int | None:
        """How many scores, best first; all unless given."""

    @property
    def threshold(self) -> float | None:
        """The least best score at which a label is named."""


def format_rows(
    signature: Signature,
    labels: Sequence[str] | None,
    outputs: Mapping[str, NDArray[Any]],
    options: Sequence[AnswerOptions],
) -> list[Any]:
    """The answer of each row.

    Args:
        signature: Of the version that gave the outputs.
        labels: The version's labels.
        outputs: Arrays by output name, rows first; finite.
        options: Of each row.
    """
    if signature.is_classifier and labels:
        scores = outputs[signature.outputs[0].name]
        if scores.ndim == 2 and scores.shape[1] == len(labels):
            return _classified(labels, scores, options)
    columns = [_plain(outputs[spec.name]) for spec in signature.outputs]
    if len(columns) == 1:
        return columns[0]
    names = [spec.name for spec in signature.outputs]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def finite_rows(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Which rows hold finite numbers only; ``None`` when all do."""
    good: NDArray[np.bool_] | None = None
    for values in outputs.values():
        if values.dtype.kind in "fc":
            finite = np.isfinite(values)
            if not finite.all():
                rows: NDArray[np.bool_] = finite.reshape(len(values), -1).all(axis=1)
                good = rows if good is None else good & rows
    return good


def _classified(labels: Sequence[str], scores: NDArray[Any], options: Sequence[AnswerOptions]) -> list[Any]:
    # One sort for the whole call; stable, so that equal scores keep the order of the labels.
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1).tolist()
    answers = []
    for places, values, wish in zip(order.tolist(), ranked, options, strict=True):
        best = values[0]
        abstains = wish.threshold is not None and best < wish.threshold
        if wish.top_k is not None:
            places = places[: wish.top_k]
        answers.append(
            {
                "label": None if abstains else labels[places[0]],
                "score": best,
                "scores": [
                    {"label": labels[place], "score": value} for place, value in zip(places, values, strict=False)
                ],
            }
        )
    return answers


def _plain(values: NDArray[Any]) -> list[Any]:
    rows: list[Any] = values.tolist()
    return _decoded(rows) if values.dtype.kind in "OS" else rows


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
