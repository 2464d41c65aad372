import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from workers.training.evaluation import MOST_CLASSES_IN_MATRIX, classification_figures

LABELS = ("a", "b", "c", "d")
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(pairs=PAIRS)
def test_figures_equal_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, answers = np.array(pairs).T
    figures = classification_figures(truth, answers, LABELS)
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro", zero_division=0))
    assert figures["confusion_matrix"] == confusion_matrix(truth, answers, labels=range(4)).tolist()
    expected = precision_recall_fscore_support(truth, answers, labels=range(4), zero_division=0)
    for index, label in enumerate(LABELS):
        one = figures["per_class"][label]
        found = (one["precision"], one["recall"], one["f1"], one["support"])
        assert found == pytest.approx(tuple(column[index] for column in expected))


def test_very_many_classes_have_no_matrix() -> None:
    labels = [str(index) for index in range(MOST_CLASSES_IN_MATRIX + 1)]
    figures = classification_figures(np.array([0, 256]), np.array([0, 255]), labels)
    assert "confusion_matrix" not in figures and figures["accuracy"] == 0.5
