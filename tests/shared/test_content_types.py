import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from shared.content_types import HEAD_BYTES, UNKNOWN, sniff, sniff_file


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_every_image_that_a_model_may_be_sent_is_known(form: str, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, form)
    assert sniff_file(file) == kind


def test_files_that_hold_models_and_arrays_are_known() -> None:
    archive, array = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("config.json", "{}")
    np.save(array, np.zeros(3))
    assert (sniff_file(archive), sniff_file(array)) == ("application/zip", "application/x-npy")


@pytest.mark.parametrize(
    "text", ["BMW is no picture", '{"a": 1}', "<script>alert(1)</script>", "größe\n", "é" * HEAD_BYTES]
)
def test_text_is_plain_text_whatever_it_says(text: str) -> None:
    assert sniff(text.encode()[:HEAD_BYTES]) == "text/plain"


def test_a_character_cut_in_two_at_the_end_of_the_head_makes_no_difference() -> None:
    assert sniff(("a" + "é" * HEAD_BYTES).encode()[:HEAD_BYTES]) == "text/plain"


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"\xff\xfe\xfd", b"abc\xc3"])
def test_what_is_none_of_these_is_unknown(data: bytes) -> None:
    assert sniff(data) == UNKNOWN
