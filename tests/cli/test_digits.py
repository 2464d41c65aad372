import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cli.digits import Digits, draw, hold_out, picture_width, read_digits


@pytest.fixture(scope="module")
def digits() -> Digits:
    return read_digits()


def test_there_are_5000_real_images_500_of_each_digit(digits: Digits) -> None:
    assert digits.images.shape == (5000, 28, 28)
    assert digits.images.dtype == np.uint8
    assert digits.images.max() == 255
    assert set(Counter(digits.labels).values()) == {500}


def test_what_is_held_out_is_stratified_disjoint_and_the_same_each_time(digits: Digits) -> None:
    rest, held = hold_out(digits, 1000)
    assert (len(rest), len(held)) == (4000, 1000)
    assert set(Counter(held.labels).values()) == {100}
    assert set(Counter(rest.labels).values()) == {400}
    assert list(held.labels) != sorted(held.labels)
    together = np.concatenate([rest.images, held.images]).reshape(5000, -1)
    assert Counter(map(bytes, together)) == Counter(map(bytes, digits.images.reshape(5000, -1)))
    assert list(hold_out(digits, 1000)[1].labels) == list(held.labels)


def test_an_image_survives_its_png(digits: Digits) -> None:
    with Image.open(io.BytesIO(digits.png(4321))) as image:
        assert np.array_equal(np.asarray(image), digits.images[4321])


def test_images_are_drawn_side_by_side_with_and_without_colors(digits: Digits) -> None:
    plain = draw([digits.images[0], digits.images[4999]], has_colors=False)
    assert len(plain.plain.splitlines()) == 10
    assert "█" in plain.plain
    colored = draw([digits.images[0]], has_colors=True)
    assert set(colored.plain) <= {"▀", " ", "\n"}
    assert picture_width() == 22
