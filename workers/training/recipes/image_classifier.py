"""The network of the recipe ``headrace/image-classifier``: the convolutional one of the TensorFlow tutorials.

Resizing and scaling are layers of the model, so whoever serves it sends plain pixels. Its last layer is a softmax, and
the loss is told so: the published tutorial code combines the two wrongly.
"""

from dataclasses import dataclass
from typing import Any

import keras

from shared.datasets.dataset import Dataset
from shared.models.recipes import ImageClassifierParameters

DEFAULT_SIDE = 64
"""Side of the images inside the model where those of the data set differ."""

LEAST_SIDE, MOST_OWN_SIDE = 16, 256
"""Bounds of the sides that are taken from the data set itself; the network needs ten pixels to have any left."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network behind two entrances that share every layer."""

    model: Any
    """Takes images of any one size, uint8; this is what gets published."""
    core: Any
    """Takes images that the model's resizing has been through, float32."""
    resizing: Any
    """The model's first layer."""
    side: tuple[int, int]
    """Height and width inside the model."""


def image_side(parameters: ImageClassifierParameters, dataset: Dataset) -> tuple[int, int]:
    """Height and width that images are resized to."""
    if parameters.image_size is not None:
        return parameters.image_size, parameters.image_size
    if dataset.image_shape is None:
        return DEFAULT_SIDE, DEFAULT_SIDE
    height, width, _ = dataset.image_shape
    return min(max(height, LEAST_SIDE), MOST_OWN_SIDE), min(max(width, LEAST_SIDE), MOST_OWN_SIDE)


def build(parameters: ImageClassifierParameters, dataset: Dataset) -> Network:
    """Makes the network with first weights that follow from the global seed."""
    height, width = image_side(parameters, dataset)
    shape = dataset.image_shape
    # Antialiasing costs as much as the network itself, and changes nothing where images are not made smaller.
    shrinks = shape is None or shape[0] > height or shape[1] > width
    layers = keras.layers
    resizing = layers.Resizing(height, width, antialias=shrinks, name="resizing")
    stack = [
        layers.Rescaling(1 / 255, name="rescaling"),
        layers.Conv2D(32, 3, activation="relu", name="conv_1"),
        layers.MaxPooling2D(name="pool_1"),
        layers.Conv2D(64, 3, activation="relu", name="conv_2"),
        layers.MaxPooling2D(name="pool_2"),
        layers.Flatten(name="flatten"),
        *([layers.Dropout(parameters.dropout, seed=parameters.seed, name="dropout")] if parameters.dropout else []),
        layers.Dense(64, activation="relu", name="dense"),
        layers.Dense(len(dataset.labels), activation="softmax", name="scores"),
    ]

    def through(value: Any) -> Any:
        for layer in stack:
            value = layer(value)
        return value

    resized = keras.Input((height, width, dataset.channels), dtype="float32", name="resized")
    core = keras.Model(resized, through(resized), name="core")
    image = keras.Input((None, None, dataset.channels), dtype="uint8", name="image")
    model = keras.Model(image, through(resizing(image)), name="image_classifier")
    return Network(model, core, resizing, (height, width))


def optimizer(parameters: ImageClassifierParameters) -> Any:
    """The optimizer that the parameters ask for."""
    rate = parameters.step_size
    if parameters.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    if parameters.optimizer == "adamw":
        return keras.optimizers.AdamW(rate)
    return keras.optimizers.Adam(rate)
