"""Writes the models of a run as Keras files: ``python -m benchmarks.chaos.models FOLDER``.

``net-2.keras`` and ``net-3.keras`` answer two and three times the first number of ``x``; ``pixel.keras`` the first
number of an image.
"""

import sys
from pathlib import Path

import keras
import numpy as np


def net(factor: float) -> keras.Model:
    """Multiplies the first of two numbers."""
    x = keras.Input((2,), name="x")
    layer = keras.layers.Dense(1, use_bias=False, name="y")
    model = keras.Model(x, layer(x))
    layer.set_weights([np.array([[factor], [0.0]], np.float32)])
    return model


def pixel() -> keras.Model:
    """Takes the first number of an image."""
    image = keras.Input((8, 8, 3), name="image")  # smaller ones are taken for plain numbers
    layer = keras.layers.Dense(1, use_bias=False, name="y")
    model = keras.Model(image, layer(keras.layers.Flatten()(image)))
    weights = np.zeros((8 * 8 * 3, 1), np.float32)
    weights[0] = 1.0
    layer.set_weights([weights])
    return model


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    net(2.0).save(folder / "net-2.keras")
    net(3.0).save(folder / "net-3.keras")
    pixel().save(folder / "pixel.keras")
    shapes = np.random.default_rng(0)
    images = shapes.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "chaos.npz", x=images, y=np.arange(60) % 3)
