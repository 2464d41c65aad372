import gc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.settings import Settings
from workers.inference import predictor
from workers.inference.predictor import Predictor


@pytest.fixture
def loaded(tmp_path: Path, version_of: Callable[..., Any]) -> Callable[..., Predictor]:
    """Saves a model and loads it with a signature of ``name: (kind, dtype, shape)`` of inputs and outputs."""

    def make(model: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> Predictor:
        specs = [
            tuple(TensorSpec(name, TensorKind(kind), *rest) for name, (kind, *rest) in side.items())
            for side in (inputs, outputs)
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
            model.save(tmp_path / "model.keras")
        return predictor.load(version_of(Signature(*specs)), tmp_path, Settings())

    return make


def test_a_sequential_model_answers_as_keras_does(cnn: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
    expected = cnn._model(pixels, training=False).numpy()
    scores = cnn.run({"image": pixels})["scores"]
    assert scores.shape == (5, 10)
    assert np.allclose(scores, expected, atol=1e-6)


def test_the_function_is_traced_once_for_all_batch_sizes(cnn: Any) -> None:
    graph = cnn._compiled.graph
    for size in (1, 3, 64):
        assert len(cnn.run({"image": np.zeros((size, 32, 32, 3), np.uint8)})["scores"]) == size
    assert cnn._compiled.graph is graph


@pytest.mark.parametrize("as_mapping", [False, True])
def test_several_inputs_and_outputs_are_matched_in_the_models_order(as_mapping: bool, loaded) -> None:
    b, a = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    total, difference = keras.layers.Add()([a, b]), keras.layers.Subtract()([a, b])
    model = keras.Model({"b": b, "a": a} if as_mapping else [b, a], [difference, total])
    names = [tensor.name for tensor in model.inputs]
    form = ("tensor", "float32", (2,))
    served = loaded(model, dict.fromkeys(names, form), {"difference": form, "total": form})
    values = {"a": np.array([[5, 6]], np.float32), "b": np.array([[1, 2]], np.float32)}
    answers = served.run(values)
    assert answers["difference"].tolist() == [[4, 4]]
    assert answers["total"].tolist() == [[6, 8]]


def test_texts_go_in_as_strings_and_come_out_as_bytes(loaded) -> None:
    text = keras.Input((1,), dtype="string", name="text")
    words = keras.layers.TextVectorization(vocabulary=["hello", "you"], output_sequence_length=3)
    served = loaded(
        keras.Model(text, words(text)),
        {"text": ("text", "string", (1,))},
        {"words": ("tensor", "int64", (3,))},
    )
    answers = served.run({"text": np.array([["hello you"], ["you who"], [""]], object)})
    assert answers["words"].tolist() == [[2, 3, 0], [3, 1, 0], [0, 0, 0]]


def test_whole_numbers_are_cast_to_what_the_network_takes(loaded) -> None:
    pixels = keras.Input((2,), dtype="float32")
    served = loaded(
        keras.Model(pixels, keras.layers.Rescaling(0.5)(pixels)),
        {"x": ("tensor", "uint8", (2,))},
        {"y": ("tensor", "float32", (2,))},
    )
    assert served.run({"x": np.array([[1, 255]], np.uint8)})["y"].tolist() == [[0.5, 127.5]]


def test_numbers_that_numpy_does_not_know_become_floats(loaded) -> None:
    x = keras.Input((2,))
    served = loaded(
        keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones", dtype="bfloat16")(x)),
        {"x": ("tensor", "float32", (2,))},
        {"y": ("tensor", "bfloat16", (1,))},
    )
    answer = served.run({"x": np.array([[1, 2]], np.float32)})["y"]
    assert answer.dtype == np.float32
    assert answer.tolist() == [[3]]


def test_layers_that_behave_otherwise_in_training_do_not_train(loaded) -> None:
    x = keras.Input((4,))
    network = keras.layers.BatchNormalization()(keras.layers.Dropout(0.9)(x))
    served = loaded(keras.Model(x, network), {"x": ("tensor", "float32", (4,))}, {"y": ("tensor", "float32", (4,))})
    ones = np.ones((3, 4), np.float32)
    assert np.allclose(served.run({"x": ones})["y"], ones, atol=1e-2)
    assert np.array_equal(served.run({"x": ones})["y"], served.run({"x": ones})["y"])


def test_a_signature_of_other_outputs_is_refused_at_load(loaded) -> None:
    x = keras.Input((2,))
    form = ("tensor", "float32", (2,))
    with pytest.raises(ValueError, match="1 outputs"):
        loaded(keras.Model(x, keras.layers.ReLU()(x)), {"x": form}, {"y": form, "z": form})


def test_memory_is_estimated_from_the_weights(cnn: Any) -> None:
    weights = sum(weight.size * 4 for weight in cnn._model.get_weights())
    assert cnn.memory_bytes == 2 * weights > 1_000_000


def test_a_model_that_nobody_holds_is_freed(loaded) -> None:
    x = keras.Input((2,))
    form = ("tensor", "float32", (2,))
    served = loaded(keras.Model(x, keras.layers.Dense(2)(x)), {"x": form}, {"y": form})
    served.run({"x": np.zeros((1, 2), np.float32)})
    gone = weakref.ref(served._model)
    del served
    gc.collect()
    assert gone() is None
