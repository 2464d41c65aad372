import base64
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from shared.errors import InputError
from shared.models.signature import Signature
from shared.settings import BatchingSettings, InferenceSettings, Settings
from workers.inference.decoding import DecodedJob, decode

SETTINGS = Settings()


@pytest.fixture
def pixels_of(signature_of: Callable[..., Signature]) -> Callable[..., np.ndarray]:
    """Decodes one image for a model of so many channels, at its natural size unless told."""

    def make(
        url: str, channels: int = 3, size: tuple[int | None, int | None] = (None, None), dtype: str = "uint8"
    ) -> np.ndarray:
        job = decode(signature_of(image=("image", dtype, (*size, channels))), {"image": url}, SETTINGS)
        assert not job.is_many
        return arrays(job)[0]["image"]

    return make


def arrays(job: DecodedJob) -> list:
    return [row() if callable(row) else row for row in job.rows]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.code


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 99, 199]], [[1, 2, 3], [250, 251, 252]]], np.uint8)


def test_a_png_comes_back_pixel_by_pixel(pixels_of, data_url) -> None:
    decoded = pixels_of(data_url(COLOURS))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, COLOURS)


def test_plain_base64_with_line_breaks_and_a_wrong_media_type_are_read_for_what_they_hold(pixels_of, data_url) -> None:
    text = data_url(COLOURS).partition(",")[2]
    assert np.array_equal(pixels_of(text), COLOURS)
    assert np.array_equal(pixels_of("\n".join(text[n : n + 76] for n in range(0, len(text), 76))), COLOURS)
    assert np.array_equal(pixels_of("data:application/pdf;base64," + text), COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_accepted_format_is_read(kind: str, pixels_of, data_url) -> None:
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    assert np.allclose(pixels_of(data_url(flat, kind)).astype(int), flat, atol=8)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX"])
def test_other_formats_are_refused(kind: str, pixels_of, data_url) -> None:
    assert code_of(lambda: pixels_of(data_url(np.zeros((16, 16, 3), np.uint8), kind))) == "E1001"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int, pixels_of, data_url) -> None:
    # A picture that is bright in its upper left corner once it stands upright.
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = pixels_of(data_url(np.ascontiguousarray(stored), kind, exif=exif))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright)[2:6, 2:6].max() < 40
    assert decoded[-8:, -8:].max() < 40


def test_alpha_is_laid_on_white_and_kept_for_four_channels(pixels_of, data_url) -> None:
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255, 128))
    url = data_url(image)
    assert pixels_of(url)[0].tolist() == [[255, 255, 255], [127, 127, 255]]
    assert pixels_of(url, 4)[0].tolist() == [[255, 0, 0, 0], [0, 0, 255, 128]]
    assert pixels_of(url, 1).shape == (1, 2, 1)
    assert pixels_of(url, 1)[0, 0, 0] == 255


def test_a_picture_without_alpha_is_opaque_for_four_channels(pixels_of, data_url) -> None:
    assert (pixels_of(data_url(COLOURS), 4)[..., 3] == 255).all()


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_equal_colours(mode: str, pixels_of, data_url) -> None:
    grey = Image.new("L", (3, 2), 255)
    grey.putpixel((0, 0), 0)
    decoded = pixels_of(data_url(grey.convert(mode)))
    assert decoded.shape == (2, 3, 3)
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[1, 2].tolist() == [255, 255, 255]
    assert pixels_of(data_url(grey.convert(mode)), 1).shape == (2, 3, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str, pixels_of, data_url) -> None:
    deep = Image.fromarray(np.array([[0, 32896, 65535]], np.uint16))
    assert deep.mode == "I;16"
    assert pixels_of(data_url(deep, kind), 1)[0, :, 0].tolist() == [0, 128, 255]
    assert pixels_of(data_url(deep, kind))[0, 1].tolist() == [128, 128, 128]


def test_a_palette_with_transparency_is_laid_on_white(pixels_of, data_url) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels_of(data_url(image))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert pixels_of(data_url(image, transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    assert pixels_of(data_url(image, transparency=0), 4)[0, :, 3].tolist() == [0, 255]


def test_a_colour_that_means_transparent_is_laid_on_white(pixels_of, data_url) -> None:
    url = data_url(COLOURS, transparency=(255, 0, 0))
    assert pixels_of(url)[0].tolist() == [[255, 255, 255], [0, 255, 0]]


def test_cmyk_becomes_colours(pixels_of, data_url) -> None:
    decoded = pixels_of(data_url(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert decoded.shape == (16, 16, 3)
    assert decoded[8, 8, 0] > 200 > 60 > decoded[8, 8, 1]
    assert pixels_of(data_url(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "TIFF"), 1).max() == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str, pixels_of, data_url) -> None:
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    decoded = pixels_of(data_url(red, kind, save_all=True, append_images=[blue]))
    assert decoded[8, 8, 0] > 240 > 20 > decoded[8, 8, 2]


def test_a_model_of_floats_gets_whole_numbers_up_to_255(pixels_of, data_url) -> None:
    assert np.array_equal(pixels_of(data_url(COLOURS), dtype="float32"), COLOURS)


def test_a_fixed_size_is_made_by_bilinear_resizing(pixels_of, data_url) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((16, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels_of(data_url(noise), size=(8, 16)), expected)
    assert pixels_of(data_url(noise), size=(None, 16)).shape == (40, 16, 3)
    assert pixels_of(data_url(noise), 1, size=(8, 16)).shape == (8, 16, 1)
    assert pixels_of(data_url(noise), 4, size=(8, 16)).shape == (8, 16, 4)


def test_a_bomb_is_refused_from_its_header_alone(signature_of) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    # There are no pixels at all behind the header: had they been asked for, the image were truncated.
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    value = {"image": base64.b64encode(png).decode()}
    for shape in ((8, 8, 3), (None, None, 3)):
        assert (
            code_of(lambda shape=shape: decode(signature_of(image=("image", "uint8", shape)), value, SETTINGS))
            == "E1002"
        )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_called_so(kind: str, pixels_of, data_url) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = base64.b64decode(data_url(noise, kind).partition(",")[2])
    for length in (14, len(data) // 2):
        cut = base64.b64encode(data[:length]).decode()
        assert code_of(lambda cut=cut: pixels_of(cut)) == "E1003"


def test_what_is_no_image_is_called_so(pixels_of) -> None:
    for data in (b"hello, this is text", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 64):
        assert code_of(lambda data=data: pixels_of(base64.b64encode(data).decode())) == "E1001"


@pytest.mark.parametrize("text", ["", "not base64!", "data:image/png,plain", "https://example.org/a.png", "data:,"])
def test_what_is_neither_data_url_nor_base64_is_refused(text: str, pixels_of) -> None:
    assert code_of(lambda: pixels_of(text)) == "E1004"


def test_damaged_bytes_never_escape_as_another_error(pixels_of, data_url) -> None:
    random = np.random.default_rng(3)
    noise = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        data = base64.b64decode(data_url(noise, kind).partition(",")[2])
        for _ in range(60):
            broken = bytearray(data)
            for place in random.integers(0, len(data), 4):
                broken[place] = random.integers(0, 256)
            try:
                pixels_of(base64.b64encode(broken).decode())
            except InputError as error:
                assert error.code in ("E1001", "E1002", "E1003", "E1004")


def test_an_error_names_the_row_only_where_a_job_has_several(classifier_signature, data_url) -> None:
    good = data_url(COLOURS)
    with pytest.raises(InputError) as caught:
        decode(classifier_signature, {"image": [good, good, "AAAA"]}, SETTINGS)
    assert str(caught.value).startswith("E1001: row 3 of 3: ")
    with pytest.raises(InputError) as caught:
        decode(classifier_signature, {"image": "AAAA"}, SETTINGS)
    assert "row" not in str(caught.value)


def test_a_list_of_images_is_many_rows_in_order(classifier_signature, data_url) -> None:
    images = [np.full((32, 32, 3), shade, np.uint8) for shade in (3, 1, 2)]
    job = decode(classifier_signature, json.dumps({"image": [data_url(image) for image in images]}).encode(), SETTINGS)
    assert job.is_many
    assert [int(row["image"][0, 0, 0]) for row in arrays(job)] == [3, 1, 2]


def test_one_row_is_many_where_the_version_iterates(classifier_signature, data_url) -> None:
    value = {"image": data_url(np.zeros((32, 32, 3), np.uint8))}
    assert not decode(classifier_signature, value, SETTINGS).is_many
    assert decode(replace(classifier_signature, iterates=True), value, SETTINGS).is_many


def test_pixels_may_come_as_numbers(classifier_signature) -> None:
    numbers = np.arange(32 * 32 * 3).reshape(32, 32, 3) % 256
    job = decode(classifier_signature, {"image": numbers.tolist()}, SETTINGS)
    assert np.array_equal(arrays(job)[0]["image"], numbers)
    assert code_of(lambda: decode(classifier_signature, {"image": (numbers - 1).tolist()}, SETTINGS)) == "E1004"


def test_images_beyond_a_jobs_share_wait_for_their_call(signature_of, data_url) -> None:
    signature = signature_of(image=("image", "uint8", (None, None, 3)))
    settings = Settings(
        batching=BatchingSettings(max_batch_rows=4, allowed_batch_sizes=(1, 2, 4), max_decoded_bytes=4 * 3000)
    )
    small, large = (data_url(np.full((side, side, 3), side, np.uint8)) for side in (20, 40))
    jobs = [decode(signature, {"image": value}, settings) for value in (small, large, [small] * 6)]
    assert [[callable(row) for row in job.rows] for job in jobs] == [[False], [True], [False] * 6]
    assert [callable(row) for row in decode(signature, {"image": [small] * 16}, settings).rows] == [False] * 10 + [
        True
    ] * 6
    assert arrays(jobs[1])[0]["image"].shape == (40, 40, 3)
    noise = data_url(np.random.default_rng(4).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    late = decode(signature, {"image": [large, noise[: len(noise) // 8 * 4 + 2]]}, settings)
    with pytest.raises(InputError, match="row 2 of 2"):
        arrays(late)


def test_a_row_that_fits_no_call_is_refused(signature_of, data_url) -> None:
    signature = signature_of(image=("image", "float32", (None, None, 3)))
    settings = Settings(batching=BatchingSettings(max_decoded_bytes=40 * 40 * 3 * 4 - 1))
    job = decode(signature, {"image": data_url(np.zeros((40, 40, 3), np.uint8))}, settings)
    assert code_of(lambda: arrays(job)) == "E1002"


def test_tensors_become_arrays_of_their_dtype(signature_of) -> None:
    signature = signature_of(a=("tensor", "float32", (2, 2)), b=("tensor", "int64", ()), c=("tensor", "bool", (None,)))
    value = {"a": [[1, 2.5], {"0": 3, "1": 4}], "b": 7, "c": [True, False, True]}
    (row,) = arrays(decode(signature, value, SETTINGS))
    assert row["a"].dtype == np.float32 and row["a"].tolist() == [[1, 2.5], [3, 4]]
    assert row["b"].dtype == np.int64 and row["b"].shape == ()
    assert row["c"].tolist() == [True, False, True]


def test_texts_become_strings_of_their_shape(signature_of) -> None:
    signature = signature_of(plain=("text", "string", ()), boxed=("text", "string", (1,)))
    job = decode(signature, {"plain": ["ä", "b"], "boxed": ["c", "d"]}, SETTINGS)
    assert [(row["plain"][()], row["boxed"].tolist()) for row in arrays(job)] == [("ä", ["c"]), ("b", ["d"])]


@pytest.mark.parametrize(
    "value",
    [b"{", b"[]", b"{}", {"a": None}, {"a": [[1, 2], [3]]}, {"a": [1, 2]}, {"a": [["1", "2"]]}, {"a": [[1e300, 0]]}],
)
def test_what_admission_would_have_refused_is_an_error_of_the_job(value: object, signature_of) -> None:
    assert code_of(lambda: decode(signature_of(a=("tensor", "float32", (None, 2))), value, SETTINGS)) == "E1004"


def test_more_rows_than_a_job_may_have_are_refused(signature_of) -> None:
    settings = Settings(inference=InferenceSettings(max_job_rows=3))
    assert code_of(lambda: decode(signature_of(a=("tensor", "int8", ())), {"a": [1, 2, 3, 4]}, settings)) == "E1002"


def test_files_of_the_store_are_read_row_by_row_and_one_that_is_gone_names_its_row(
    signature_of: Callable[..., Signature], data_url
) -> None:
    stored = {"artifact:files/a1/content": base64.b64decode(data_url(COLOURS).partition(",")[2])}

    def read(reference: str) -> bytes:
        if reference not in stored:
            raise InputError("gone", "E1005")
        return stored[reference]

    for size in ((None, None), (3, 2)):
        signature = signature_of(image=("image", "uint8", (*size, 3)))
        value = {"image": ["artifact:files/a1/content", data_url(COLOURS)]}
        for until in (0.0, float("inf")):
            job = decode(signature, value, SETTINGS, until, read)
            assert all(np.array_equal(row["image"], COLOURS) for row in arrays(job))
        with pytest.raises(InputError, match="row 2 of 2: gone") as caught:
            decode(signature, {"image": ["artifact:files/a1/content", "artifact:x"]}, SETTINGS, read=read)
        assert caught.value.code == "E1005"


def test_files_beyond_a_jobs_share_are_read_when_their_call_is_made_and_not_held(
    signature_of: Callable[..., Signature], data_url
) -> None:
    data = base64.b64decode(data_url(COLOURS).partition(",")[2])
    reads: list[str] = []

    def read(reference: str) -> bytes:
        reads.append(reference)
        return data

    few = SETTINGS.model_copy(update={"batching": BatchingSettings(max_decoded_bytes=64 * COLOURS.nbytes // 2)})
    names = [f"artifact:{number}" for number in range(8)]
    job = decode(signature_of(image=("image", "uint8", (None, None, 3))), {"image": names}, few, read=read)
    assert reads == names[:5] and sum(map(callable, job.rows)) == 4
    assert len(arrays(job)) == 8 and reads == names[:5] + names[4:]


def test_a_text_that_looks_like_a_file_of_the_store_is_a_text(signature_of: Callable[..., Signature]) -> None:
    def read(reference: str) -> bytes:
        raise AssertionError(reference)

    job = decode(signature_of(x=("text", "string", ())), {"x": "artifact:files/a1/content"}, SETTINGS, read=read)
    assert arrays(job)[0]["x"][()] == "artifact:files/a1/content"
