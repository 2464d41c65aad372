from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from shared.errors import ImportRefused
from shared.models.signature import TensorKind
from workers.importing.network import Normalisation, Served, add_head, wrap
from workers.importing.samples import COUNT
from workers.importing.trials import Trial, range_warnings

SIZES = (1, 2, 4)
LABELS = ("one", "two", "three")


def chain(*layers: Any, shape: Sequence[int | None], dtype: str = "float32") -> Any:
    return keras.Sequential([keras.Input(tuple(shape), dtype=dtype), *layers])


def images(*layers: Any, units: int = 3, activation: str = "softmax") -> Any:
    keras.utils.set_random_seed(1)
    return chain(
        keras.layers.Conv2D(4, 3, activation="relu"),
        *layers,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(units, activation=activation),
        shape=(12, 10, 3),
    )


def tokens(mask_zero: bool) -> Any:
    keras.utils.set_random_seed(1)
    return chain(
        keras.layers.Embedding(50, 8, mask_zero=mask_zero, embeddings_initializer="normal"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=10)),
        shape=(None,),
        dtype="int32",
    )


def served(network: Any, labels: Sequence[str] | None = None, normalisation: Normalisation | None = None) -> Served:
    made = wrap(network, normalisation or Normalisation())
    if labels is None:
        return made
    return add_head(made, network, labels, Trial(made.model, made.signature).answers[0])


def trial(made: Served) -> Trial:
    return Trial(made.model, made.signature)


def test_images_are_known_by_their_shape() -> None:
    spec = served(images()).signature.inputs[0]
    assert (spec.name, spec.kind, spec.dtype, spec.shape) == ("image", TensorKind.IMAGE, "float32", (12, 10, 3))


def test_whole_numbers_of_an_image_arrive_as_bytes() -> None:
    network = chain(keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), shape=(8, 8, 1), dtype="int32")
    made = served(network)
    assert made.signature.inputs[0].dtype == "uint8"
    rows = trial(made)
    assert np.allclose(rows.answers[0], rows.rows["image"].reshape(COUNT, -1) / 255, atol=1e-6)


def test_a_square_without_channels_is_a_grey_image() -> None:
    made = served(chain(keras.layers.Flatten(), shape=(28, 28)), normalisation=Normalisation(1 / 255))
    assert made.signature.inputs[0].kind is TensorKind.IMAGE and made.signature.inputs[0].shape == (28, 28, 1)
    tried = trial(made)
    assert np.allclose(tried.answers[0], tried.rows["image"].reshape(COUNT, -1) / 255, atol=1e-6)
    assert served(chain(keras.layers.Flatten(), shape=(28, 27))).signature.inputs[0].kind is TensorKind.TENSOR


def test_a_name_that_somebody_chose_is_kept_and_an_automatic_one_is_not() -> None:
    age, words = keras.Input((1,), name="age"), keras.Input((4,))
    network = keras.Model([age, words], keras.layers.Concatenate()([age, words]))
    assert [spec.name for spec in served(network).signature.inputs] == ["age", "input_2"]


def test_an_input_called_like_an_option_is_refused() -> None:
    given = keras.Input((4,), name="top_k")
    with pytest.raises(ImportRefused, match="top_k"):
        wrap(keras.Model(given, keras.layers.Dense(2)(given)), Normalisation())


def test_inputs_by_name_and_several_outputs_keep_their_order() -> None:
    given = {"b": keras.Input((2,), name="b"), "a": keras.Input((2,), name="a")}
    double = keras.layers.Rescaling(2.0, name="double")(given["a"])
    triple = keras.layers.Rescaling(3.0, name="triple")(given["b"])
    made = served(keras.Model(given, [triple, double]))
    tried = trial(made)
    names = [spec.name for spec in made.signature.outputs]
    answers = dict(zip(names, tried.answers, strict=True))
    assert np.allclose(answers["double"], 2 * tried.rows["a"]) and np.allclose(answers["triple"], 3 * tried.rows["b"])


def test_a_fixed_batch_size_is_refused() -> None:
    given = keras.Input(batch_shape=(8, 4))
    with pytest.raises(ImportRefused, match="exactly 8 rows"):
        wrap(keras.Model(given, keras.layers.Dense(2)(given)), Normalisation())


def test_scale_mean_and_std_become_part_of_the_network() -> None:
    network = chain(keras.layers.Flatten(), shape=(8, 8, 3))
    how = Normalisation(1 / 255, (0.5, 0.4, 0.3), (0.2, 0.1, 0.5))
    made = served(network, normalisation=how)
    tried = trial(made)
    expected = (tried.rows["image"] / 255 - np.array(how.mean)) / np.array(how.std)
    assert np.allclose(tried.answers[0], expected.reshape(COUNT, -1), atol=1e-5)
    assert made.parameters == {"scale": 1 / 255, "mean": how.mean, "std": how.std}


def test_a_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(ImportRefused, match="mean has 2 values, but the input has 3 channels"):
        wrap(images(), Normalisation(mean=(0.5, 0.5)))


def test_a_normalisation_of_token_ids_is_refused() -> None:
    with pytest.raises(ImportRefused, match="scale, mean and std"):
        wrap(tokens(True), Normalisation(1 / 255))


@pytest.mark.parametrize(("count", "units"), [(2, 3), (4, 3), (3, 1), (3, 2)])
def test_labels_that_do_not_fit_are_refused(count: int, units: int) -> None:
    with pytest.raises(ImportRefused, match=f"{count} labels were given, but the network answers {units} scores"):
        served(images(units=units, activation="sigmoid"), [str(number) for number in range(count)])


def test_labels_for_several_outputs_are_refused() -> None:
    given = keras.Input((4,))
    network = keras.Model(given, [keras.layers.Dense(3)(given), keras.layers.Dense(3)(given)])
    with pytest.raises(ImportRefused, match="the network has 2"):
        served(network, LABELS)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_numbers_that_are_no_probabilities_get_a_softmax(activation: str) -> None:
    network = images(activation=activation)
    made = served(network, LABELS)
    tried = trial(made)
    raw = np.asarray(network(tried.rows["image"], training=False))
    expected = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    assert made.parameters == {"softmax": True} and f"ends in {activation}" in made.warnings[0]
    assert np.allclose(tried.answers[0], expected, atol=1e-5)
    assert made.signature.is_classifier and made.signature.outputs[0].name == "scores"


def test_probabilities_stay_as_they_are() -> None:
    network = images()
    made = served(network, LABELS)
    tried = trial(made)
    assert not made.warnings and not made.parameters
    assert np.allclose(tried.answers[0], np.asarray(network(tried.rows["image"], training=False)), atol=1e-6)


def test_one_sigmoid_unit_and_two_labels_score_both() -> None:
    network = images(units=1, activation="sigmoid")
    made = served(network, ["no", "yes"])
    tried = trial(made)
    positive = np.asarray(network(tried.rows["image"], training=False))
    assert np.allclose(tried.answers[0], np.concatenate([1 - positive, positive], axis=1), atol=1e-6)
    assert made.signature.outputs[0].shape == (2,)


def test_labels_scored_each_by_itself_are_said() -> None:
    made = served(images(activation="sigmoid"), LABELS)
    assert "softmax" not in made.parameters and "do not sum to 1" in made.warnings[0]


def test_dropout_and_batch_normalisation_answer_as_in_inference() -> None:
    network = images(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
    tried = trial(served(network, LABELS))
    tried.check_batches(SIZES)
    assert np.allclose(tried.answers[0], np.asarray(network(tried.rows["image"], training=False)), atol=1e-6)


def test_a_layer_that_was_told_to_train_does_not() -> None:
    given = keras.Input((12,))
    network = keras.Model(given, keras.layers.Dropout(0.5)(given, training=True))
    tried = trial(served(network))
    tried.check_batches(SIZES)
    assert np.allclose(tried.answers[0], tried.rows["input"])


def test_a_network_left_to_chance_is_refused() -> None:
    noise = keras.layers.Lambda(lambda x: x + keras.random.normal((4,)))
    with pytest.raises(ImportRefused, match="differently each time"):
        trial(served(chain(noise, shape=(4,)))).check_batches(SIZES)


def test_a_network_that_looks_at_the_other_rows_is_refused() -> None:
    given = keras.Input((4,))
    network = keras.Model(given, given - keras.ops.mean(given, axis=0, keepdims=True))
    with pytest.raises(ImportRefused, match="other rows of a batch"):
        trial(served(network)).check_batches(SIZES)


@pytest.mark.parametrize("mask_zero", [True, False])
def test_padding_is_allowed_only_where_it_was_seen_to_change_nothing(mask_zero: bool) -> None:
    tried = trial(served(tokens(mask_zero), LABELS))
    tried.check_batches(SIZES)
    assert tried.with_proven_padding().inputs[0].pads is mask_zero
    assert tried.rows["input"].max() < 50


def test_equal_answers_prove_nothing_about_padding() -> None:
    network = tokens(False)
    network.layers[-1].set_weights([np.zeros((8, 3)), np.zeros(3)])
    assert not trial(served(network, LABELS)).with_proven_padding().inputs[0].pads


def test_an_answer_that_grows_with_its_input_is_never_padded() -> None:
    network = chain(keras.layers.Embedding(9, 4, mask_zero=True), shape=(None,), dtype="int32")
    assert not trial(served(network)).with_proven_padding().inputs[0].pads


def vectorised(shape: Sequence[int], length: int | None, mask: bool = False) -> Any:
    keras.utils.set_random_seed(1)
    vectorise = keras.layers.TextVectorization(max_tokens=200, output_sequence_length=length)
    vectorise.adapt(["the film was wonderful", "please send me the report", "you have won a free prize"])
    return chain(
        vectorise,
        keras.layers.Embedding(200, 8, mask_zero=mask, embeddings_initializer="normal"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=10)),
        shape=shape,
        dtype="string",
    )


@pytest.mark.parametrize("shape", [(1,), ()])
@pytest.mark.parametrize(("length", "mask"), [(12, False), (None, True)])
def test_texts_are_taken_one_a_row(shape: Sequence[int], length: int | None, mask: bool) -> None:
    made = served(vectorised(shape, length, mask), LABELS)
    spec = made.signature.inputs[0]
    assert (spec.name, spec.kind, spec.dtype, spec.shape) == ("text", TensorKind.TEXT, "string", ())
    trial(made).check_batches(SIZES)


def test_texts_that_are_padded_without_a_mask_are_refused() -> None:
    with pytest.raises(ImportRefused, match="output_sequence_length"):
        trial(served(vectorised((1,), None), LABELS)).check_batches((16,))


def test_a_sample_answered_alike_names_the_scale() -> None:
    network = images(activation="linear")
    network.layers[-1].set_weights([np.zeros((4, 3)), np.array([0.0, 9.0, 0.0])])
    made = served(network, LABELS)
    [warning] = range_warnings(trial(made), LABELS, is_scaled=False)
    assert "'two'" in warning and "--scale 1/255" in warning
    [warning] = range_warnings(trial(made), LABELS, is_scaled=True)
    assert "may not want the scale" in warning


def test_a_network_that_is_utterly_sure_names_the_scale() -> None:
    network = images()
    network.layers[-1].set_weights([network.layers[-1].get_weights()[0] * 20, np.zeros(3)])
    tried = trial(served(network, LABELS))
    assert len(set(tried.answers[0].argmax(axis=1))) > 1
    [warning] = range_warnings(tried, LABELS, is_scaled=False)
    assert "utterly sure" in warning and "--scale 1/255" in warning
    scaling = chain(keras.layers.Rescaling(1.0), *network.layers, shape=(12, 10, 3))
    assert not range_warnings(trial(served(scaling, LABELS)), LABELS, is_scaled=False)


def test_a_network_that_gets_the_right_range_is_not_warned_of() -> None:
    scaled = images()
    scaled.layers[-1].set_weights([scaled.layers[-1].get_weights()[0] * 20, np.zeros(3)])
    made = served(scaled, LABELS, Normalisation(1 / 255))
    assert len(set(trial(made).answers[0].argmax(axis=1))) > 1
    assert not range_warnings(trial(made), LABELS, is_scaled=True)


def test_images_of_any_size_are_tried_large_enough() -> None:
    network = chain(
        *(keras.layers.Conv2D(4, 3, strides=2) for _ in range(4)),
        keras.layers.GlobalAveragePooling2D(),
        shape=(None, None, 3),
    )
    tried = trial(served(network))
    assert tried.size == 64 and not tried.with_proven_padding().inputs[0].pads


def test_numbers_that_are_not_finite_are_refused() -> None:
    network = chain(keras.layers.Rescaling(float("1e38")), keras.layers.Rescaling(1e38), shape=(4,))
    with pytest.raises(ImportRefused, match="not finite"):
        trial(served(network)).check_finite()
