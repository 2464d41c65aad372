import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from shared.models.signature import Signature, TensorKind, TensorSpec
from workers.inference.answers import finite_rows, format_rows


@dataclass
class Wish:
    top_k: int | None = None
    threshold: float | None = None


CLASSIFIER = Signature((), (TensorSpec("scores", TensorKind.CATEGORY, "float32", (3,)),))
LABELS = ("a", "b", "c")
SCORES = np.array([[0.25, 0.625, 0.125], [0.5, 0.0, 0.5]], np.float32)


def classified(wish: Wish, scores: Any = SCORES) -> list[Any]:
    return format_rows(CLASSIFIER, LABELS, {"scores": scores}, [wish] * len(scores))


def test_a_classifier_answers_label_score_and_all_scores_best_first() -> None:
    first, second = classified(Wish())
    assert first == {
        "label": "b",
        "score": 0.625,
        "scores": [{"label": "b", "score": 0.625}, {"label": "a", "score": 0.25}, {"label": "c", "score": 0.125}],
    }
    # Equal scores keep the order of the labels.
    assert [score["label"] for score in second["scores"]] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("top_k", "labels"), [(1, ["b"]), (2, ["b", "a"]), (3, ["b", "a", "c"]), (99, ["b", "a", "c"])]
)
def test_top_k_bounds_the_scores(top_k: int, labels: list[str]) -> None:
    answer = classified(Wish(top_k=top_k))[0]
    assert [score["label"] for score in answer["scores"]] == labels
    assert answer["label"] == "b"


def test_below_the_threshold_the_label_is_null_and_the_scores_stay() -> None:
    assert classified(Wish(threshold=0.625))[0]["label"] == "b"
    abstained = classified(Wish(threshold=0.7, top_k=1))[0]
    assert abstained == {"label": None, "score": 0.625, "scores": [{"label": "b", "score": 0.625}]}


def test_each_row_of_a_call_has_its_own_wishes() -> None:
    answers = format_rows(CLASSIFIER, LABELS, {"scores": SCORES}, [Wish(top_k=1), Wish(threshold=0.9)])
    assert [len(answer["scores"]) for answer in answers] == [1, 3]
    assert [answer["label"] for answer in answers] == ["b", None]


def test_without_labels_scores_are_plain_lists() -> None:
    assert format_rows(CLASSIFIER, None, {"scores": SCORES}, [Wish()] * 2) == SCORES.tolist()


def test_one_output_is_nested_lists_and_several_are_named() -> None:
    one = TensorSpec("one", TensorKind.TENSOR, "float32", (2,))
    two = TensorSpec("two", TensorKind.TENSOR, "int64", ())
    outputs = {"one": np.array([[1.5, 2], [3, 4]], np.float32), "two": np.array([7, 8])}
    assert format_rows(Signature((), (one,)), None, outputs, [Wish()] * 2) == [[1.5, 2], [3, 4]]
    assert format_rows(Signature((), (two, one)), None, outputs, [Wish()] * 2) == [
        {"two": 7, "one": [1.5, 2]},
        {"two": 8, "one": [3, 4]},
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([b"a", "\u00e4".encode(), b"\xff"], object), ["a", "\u00e4", "\ufffd"]),
        (np.array([[b"a", b"b"]], object), [["a", "b"]]),
        (np.array(["x"], object), ["x"]),
        (np.array([True, False]), [True, False]),
        (np.array([2**63], np.uint64), [2**63]),
        (np.array([0.5], np.float16), [0.5]),
    ],
)
def test_every_dtype_becomes_json(values: Any, expected: list[Any]) -> None:
    signature = Signature((), (TensorSpec("out", TensorKind.TENSOR, "any", ()),))
    answers = format_rows(signature, None, {"out": values}, [Wish()] * len(values))
    assert answers == expected
    json.dumps(answers, allow_nan=False)


def test_rows_that_are_not_finite_are_found_in_any_output() -> None:
    good = {"a": np.zeros((4, 2, 2)), "b": np.zeros(4, np.int32), "c": np.array(["nan"] * 4, object)}
    assert finite_rows(good) is None
    a, b = np.zeros((4, 2, 2), np.float32), np.zeros(4, np.float16)
    a[1, 1, 0], b[3] = np.nan, np.inf
    found = finite_rows({"a": a, "b": b})
    assert found is not None and found.tolist() == [True, False, True, False]
