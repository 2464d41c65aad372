"""Figures of a classifier on examples that it has not learnt from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES_IN_MATRIX = 256
"""More classes have no confusion matrix among their figures: it would outweigh the manifest that carries it."""


def classification_figures(
    truth: NDArray[np.integer[Any]], answers: NDArray[np.integer[Any]], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro F1, figures for each class, and the confusion matrix.

    Macro F1 is the mean over the classes that occur in the truth or among the answers.

    Args:
        truth: Index of each example's label.
        answers: Index of the label that was answered.
        labels: All labels.

    Returns:
        JSON values; the matrix has a row for each true label and a column for each answered one.
    """
    size = len(labels)
    matrix = np.bincount(truth.astype(np.int64) * size + answers, minlength=size * size).reshape(size, size)
    right = matrix.diagonal().astype(np.float64)
    support, answered = matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = (support + answered) > 0
    precision, recall = _share(right, answered), _share(right, support)
    f1 = _share(2 * right, support + answered)
    figures: dict[str, Any] = {
        "accuracy": float(right.sum() / max(1, len(truth))),
        "macro_f1": float(f1[occurs].mean()) if occurs.any() else 0.0,
        "examples": len(truth),
        "per_class": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "support": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
    }
    if size <= MOST_CLASSES_IN_MATRIX:
        figures["confusion_matrix"] = matrix.tolist()
    return figures


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.zeros(len(part))
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
