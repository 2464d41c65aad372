import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.settings import Settings
from workers.examples import open_examples

Savez = Callable[..., bytes]
Prepare = Callable[..., dict]
Refusal = Callable[..., str]

LABELS = np.arange(40) % 4


def images(count: int = 40, seed: int = 0, **kwargs: Any) -> np.ndarray:
    shape = kwargs.get("shape", (7, 6, 3))
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_a_pair_of_arrays_becomes_a_data_set_with_the_same_pixels(
    names: tuple[str, str],
    savez: Savez,
    run_prepare: Prepare,
    datasets: DatasetStore,
    artifacts: ArtifactStore,
    settings: Settings,
) -> None:
    pixels = images()
    output = run_prepare(savez(**dict(zip(names, (pixels, LABELS), strict=True))))
    assert output["classes"] == {"0": 10, "1": 10, "2": 10, "3": 10}
    assert output["splits"] == {"train": 32, "validation": 4, "test": 4} and output["image_shape"] == [7, 6, 3]
    splits = open_examples(artifacts, datasets.get("pets"), settings.data_dir, lambda: None)
    found = {(int(e.labels[i]), e.image(i).tobytes()) for e in splits.values() for i in range(len(e))}
    assert found == {(int(label), image.tobytes()) for label, image in zip(LABELS, pixels, strict=True)}
    train = splits["train"]
    assert (train.stacked(np.array([5, 3, 5])) == np.stack([train.image(i) for i in (5, 3, 5)])).all()


def test_arrays_and_image_files_of_the_same_pixels_are_the_same_set(
    savez: Savez, run_prepare: Prepare, pack: Callable[..., bytes]
) -> None:
    from PIL import Image

    pixels, members = images(), {}
    for index, (image, label) in enumerate(zip(pixels, LABELS, strict=True)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        members[f"{label}/{index}.png"] = file.getvalue()
    assert run_prepare(savez(x=pixels, y=LABELS))["digest"] == run_prepare(pack(members))["digest"]


@pytest.mark.parametrize("form", ["{array}_{split}", "{split}_{array}"])
def test_given_splits_are_kept(form: str, savez: Savez, run_prepare: Prepare) -> None:
    arrays = {}
    for split, count in (("train", 36), ("test", 8)):
        arrays[form.format(array="images", split=split)] = images(count, seed=count)
        arrays[form.format(array="labels", split=split)] = np.arange(count)[:, np.newaxis] % 4
    output = run_prepare(savez(**arrays))
    assert output["splits"] == {"train": 32, "validation": 4, "test": 8}
    assert output["given_splits"] == ["train", "test"]


def test_labels_may_be_named_or_be_text(savez: Savez, run_prepare: Prepare) -> None:
    names = np.array(["plane", "car", "bird", "cat"])
    by_names = run_prepare(savez(x=images(), y=LABELS, label_names=names))
    assert list(by_names["classes"]) == ["plane", "car", "bird", "cat"]
    assert list(run_prepare(savez(x=images(), y=LABELS, labels=names))["classes"]) == ["plane", "car", "bird", "cat"]
    assert list(run_prepare(savez(x=images(), y=names[LABELS]))["classes"]) == ["bird", "car", "cat", "plane"]
    assert list(run_prepare(savez(x=images(), y=np.array([b"a", b"b"])[LABELS % 2]))["classes"]) == ["a", "b"]


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32", "float64", ">i4"])
def test_whole_numbers_of_any_dtype_are_pixels(dtype: str, savez: Savez, run_prepare: Prepare) -> None:
    pixels = images(shape=(7, 6))
    plain = run_prepare(savez(x=pixels, y=LABELS))
    assert plain["image_shape"] == [7, 6, 1]
    assert run_prepare(savez(x=pixels.astype(dtype), y=LABELS.astype("float64")))["digest"] == plain["digest"]


def test_arrays_that_are_no_images_are_refused_with_what_to_do(savez: Savez, refusal: Refusal) -> None:
    x, y = images(), LABELS
    for arrays, words in [
        ({"x": x / 255, "y": y}, "(x * 255).round()"),
        ({"x": (x > 99).astype("float32"), "y": y}, "(x * 255).round()"),
        ({"x": x.astype("int16") + 1, "y": y}, "from 0 to 255"),
        ({"x": np.where(x > 250, np.nan, x), "y": y}, "from 0 to 255"),
        ({"x": x.transpose(0, 3, 1, 2).copy(), "y": y}, "x.transpose(0, 2, 3, 1)"),
        ({"x": x.reshape(40, -1), "y": y}, "[number, height, width]"),
        ({"x": images(shape=(7, 6, 4)), "y": y}, "[number, height, width]"),
        ({"x": np.asfortranarray(x), "y": y}, "ascontiguousarray(x)"),
        ({"x": x.astype("complex64"), "y": y}, "numbers from 0 to 255"),
        ({"x": x, "y": np.eye(4)[y]}, "argmax(y, axis=1)"),
        ({"x": x, "y": y + 0.5}, "whole numbers or text"),
        ({"x": x, "y": y[:-1]}, "40 images and y 39 labels"),
        ({"x": x, "y": y, "label_names": np.array(["a", "b"])}, "there is no name"),
        ({"x": x, "y": y, "label_names": np.array(["a", "b", "b", "c"])}, "same name"),
        ({"x": x, "y": y, "label_names": np.array(["a", "b", "c", "d\x07"])}, "cannot be a label"),
        ({"x": x, "y": y, "label_names": np.array(list("abcde"))}, "'e'"),
        ({"x": x, "y": y, "x_train": x, "y_train": y}, "several arrays"),
        ({"x_test": x, "y_test": y}, "no images for training"),
        ({"a": x, "b": y}, "name them x and y"),
        ({"x": x, "y": np.zeros(40)}, "at least two classes"),
        ({"x": x[:0], "y": y[:0]}, "at least two classes"),
        ({"x": images(shape=(0, 6, 3)), "y": y}, "0 x 6 pixels"),
        ({"x_train": x, "y_train": y, "x_test": x, "y_test": y.astype("U2")}, "numbers here and text there"),
    ]:
        assert words in refusal(savez(**arrays)), words


def test_nothing_is_ever_unpickled(savez: Savez, refusal: Refusal) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return pytest.fail, ("a pickle was loaded",)

    objects = np.empty(40, object)
    objects[:] = [Evil() for _ in range(40)]
    assert "Python objects" in refusal(savez(x=images(), y=objects))
    assert "Python objects" in refusal(savez(x=objects, y=LABELS))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (40, 7000000, 600, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (40, -7, -6, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 7, 6, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (40, 7, 7, 3), }",
        b"{'descr': __import__('os'), 'shape': (40, 7, 6, 3), }",
        b"(" * 5000,
        b"",
    ],
)
def test_a_header_that_lies_is_refused(
    header: bytes, savez: Savez, pack: Callable[..., bytes], refusal: Refusal
) -> None:
    labels = zipfile.ZipFile(io.BytesIO(savez(y=LABELS))).read("y.npy")
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    refusal(pack({"x.npy": head + images().tobytes(), "y.npy": labels}))


def test_a_large_array_is_read_in_pieces(savez: Savez, run_prepare: Prepare, settings: Settings) -> None:
    import tracemalloc

    pixels = np.zeros((4000, 64, 64, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(4000) % 250
    upload = savez(x=pixels, y=np.arange(4000) % 4)
    size = pixels.nbytes
    del pixels
    tracemalloc.start()
    try:
        output = run_prepare(upload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert output["examples"] == 4000 and peak < size / 2
