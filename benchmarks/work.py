"""The work that is measured: the CIFAR-10 network of the TensorFlow tutorials and 512 small pictures.

Weights are seeded and the last layer is centred on the pictures, so that all ten classes occur and an answer that got
mixed up with another request's is seen.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNT = 512
SIZE = 32
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pictures() -> np.ndarray[Any, Any]:
    """Smooth coloured patterns, uint8 (COUNT, 32, 32, 3); as PNG as large as photographs of that size."""
    random = np.random.default_rng(10)
    made = []
    for _ in range(COUNT):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.int16)
        made.append(np.clip(smooth + random.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8))
    return np.stack(made)


def build() -> Any:
    """The network, with softmax and normalisation inside."""
    import keras

    keras.utils.set_random_seed(10)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3), dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(len(LABELS), activation="softmax"),
        ]
    )


def make(folder: Path) -> None:
    """Writes ``model.keras``, the PNG files and the right answer to each into a folder, once."""
    if (folder / "expected.json").exists():
        return
    import keras

    pixels = pictures()
    model = build()
    features = keras.Model(model.inputs, model.layers[-2].output).predict(pixels, verbose=0)
    spread = features.std(0) + 1e-6
    kernel = np.random.default_rng(11).normal(0, 0.5, (64, len(LABELS))) / spread[:, None]
    model.layers[-1].set_weights([kernel, -features.mean(0) @ kernel])
    answers = model.predict(pixels, verbose=0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    for number, picture in enumerate(pixels):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        (folder / "images" / f"{number:03}.png").write_bytes(stream.getvalue())
    (folder / "expected.json").write_text(json.dumps([int(row.argmax()) for row in answers]))


def images(folder: Path) -> list[bytes]:
    """The PNG files, in order."""
    return [path.read_bytes() for path in sorted((folder / "images").iterdir())]


def expected(folder: Path) -> list[int]:
    """The class of each picture by plain Keras."""
    classes: list[int] = json.loads((folder / "expected.json").read_text())
    return classes


if __name__ == "__main__":
    make(Path(sys.argv[1]))
