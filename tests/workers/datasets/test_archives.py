import io
import random
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from shared.settings import DatasetsSettings, InferenceSettings, Settings

Members = Callable[..., dict[str, bytes]]
Pack = Callable[..., bytes]
Refusal = Callable[..., str]


def declare(archive: bytearray, name: str, size: int) -> None:
    """Has a member say, in its header and in the directory, that it unpacks to that many bytes."""
    for at in (archive.index(name.encode()) - 30 + 22, archive.rindex(name.encode()) - 46 + 24):
        archive[at : at + 4] = struct.pack("<I", size)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../cat/1.png", "points outside"),
        ("cat/../../1.png", "points outside"),
        ("cat/./1.png", "points outside"),
        ("cat//1.png", "points outside"),
        ("..\\cat\\1.png", "points outside"),
        ("/etc/cat/1.png", "absolute path"),
        ("C:\\cat\\1.png", "absolute path"),
        ("cat/\n1.png", "control characters"),
        ("a/" * 20 + "1.png", "folders deep"),
        ("cat/" + "n" * 2000 + ".png", "too long a name"),
    ],
)
def test_a_name_that_is_no_place_in_the_archive_is_refused(
    name: str, words: str, two_classes: Members, pack: Pack, refusal: Refusal
) -> None:
    assert words in refusal(pack({**two_classes(), name: b"x"}))


def test_a_name_with_a_zero_byte_is_refused(two_classes: Members, pack: Pack, refusal: Refusal) -> None:
    archive = pack({**two_classes(), "cat/evil#.png": b"x"}).replace(b"cat/evil#.png", b"cat/evil\0.png")
    assert "control characters" in refusal(archive)


@pytest.mark.parametrize("form", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_are_refused(form: int, two_classes: Members, pack: Pack, refusal: Refusal) -> None:
    link = zipfile.ZipInfo("cat/link.png")
    link.create_system, link.external_attr = 3, form << 16
    assert "link or a device" in refusal(pack({**two_classes(), link: b"/etc/passwd"}))


def test_an_encrypted_member_is_refused(two_classes: Members, pack: Pack, refusal: Refusal) -> None:
    archive = bytearray(pack(two_classes()))
    at = archive.index(b"PK\x01\x02")
    archive[at + 8] |= 1
    assert "encrypted" in refusal(bytes(archive))


def test_another_packing_method_is_refused(two_classes: Members, refusal: Refusal) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in two_classes().items():
            archive.writestr(name, data)
    assert "another method" in refusal(file.getvalue())


def test_an_archive_that_declares_too_many_bytes_is_refused(
    two_classes: Members, pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    small = settings.model_copy(update={"datasets": DatasetsSettings(max_unpacked_bytes=2_000_000)})
    assert "unpacks to" in refusal(pack({**two_classes(), "cat/bomb.png": bytes(3_000_000)}), settings=small)


def test_an_archive_of_too_many_files_is_refused(
    two_classes: Members, pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    small = settings.model_copy(update={"datasets": DatasetsSettings(max_files=19)})
    assert "holds 20 files" in refusal(pack(two_classes()), settings=small)


def test_images_that_decode_to_more_than_is_accepted_are_refused(
    pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    def solid(value: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (200, 200), value).save(file, "PNG")
        return file.getvalue()

    archive = pack({f"{value % 2}/{value}.png": solid(value) for value in range(50)})
    small = settings.model_copy(update={"datasets": DatasetsSettings(max_unpacked_bytes=1_000_000)})
    assert len(archive) < 20_000
    assert "more than the 1000000 bytes" in refusal(archive, settings=small)


def test_a_member_that_unpacks_to_more_than_it_declares_is_only_unreadable(
    two_classes: Members, pack: Pack, run_prepare: Callable[..., dict]
) -> None:
    members = two_classes()
    archive = bytearray(pack({**members, "dog/bomb.png": bytes(500_000)}))
    declare(archive, "dog/bomb.png", 100)
    output = run_prepare(bytes(archive))
    assert output["examples"] == len(members)
    assert [item["file"] for item in output["unreadable"]] == ["dog/bomb.png"]


def test_members_that_share_their_bytes_are_refused(two_classes: Members, pack: Pack, refusal: Refusal) -> None:
    archive = bytearray(pack(two_classes()))
    first = archive.index(b"PK\x01\x02")
    second = archive.index(b"PK\x01\x02", first + 4)
    archive[second + 42 : second + 46] = archive[first + 42 : first + 46]
    assert "shares its bytes" in refusal(bytes(archive))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(two_classes: Members, refusal: Refusal) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in [*two_classes().items(), ("cat/1.png", b"other")]:
            archive.writestr(name, data)
    assert "two members" in refusal(file.getvalue())


@pytest.mark.parametrize("cut", [0, 1, 100, -10])
def test_what_is_no_archive_or_was_cut_off_is_refused(
    cut: int, two_classes: Members, pack: Pack, refusal: Refusal
) -> None:
    assert "no zip or npz file" in refusal(pack(two_classes())[:cut])


def test_a_directory_larger_than_its_files_allow_is_never_read(
    pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    info = zipfile.ZipInfo("cat/1.png")
    info.comment = b"c" * 60_000
    members: dict = {info: b"x"}
    for index in range(30):
        other = zipfile.ZipInfo(f"cat/{index + 2}.png")
        other.comment = b"c" * 60_000
        members[other] = b"x"
    small = settings.model_copy(update={"datasets": DatasetsSettings(max_files=50)})
    assert "directory is larger" in refusal(pack(members), settings=small)


def test_nothing_is_written_outside_the_services_own_folders(
    two_classes: Members, pack: Pack, run_prepare: Callable[..., dict], settings: Settings
) -> None:
    run_prepare(pack(two_classes()))
    assert sorted(path.name for path in settings.data_dir.iterdir()) == ["artifacts", "cache"]
    assert [path.name for path in (settings.data_dir / "cache").iterdir()] == ["scratch"]
    assert not list((settings.data_dir / "cache" / "scratch").iterdir())


@pytest.mark.parametrize("name", ["cat/bomb.png", "cat/bomb.txt", "__MACOSX/bomb"])
def test_a_member_that_declares_more_than_any_image_has_and_shrank_to_nothing_is_a_bomb(
    name: str, two_classes: Members, pack: Pack, refusal: Refusal
) -> None:
    archive = bytearray(pack({**two_classes(), name: bytes(1000)}))
    declare(archive, name, 400_000_000)
    assert f"member '{name}' unpacks from " in refusal(bytes(archive))


def test_a_member_that_unpacks_to_a_bomb_whatever_it_declares_is_refused(
    two_classes: Members, pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    small = settings.model_copy(update={"inference": InferenceSettings(max_pixels=1_000_000)})
    archive = bytearray(pack({**two_classes(), "dog/bomb.png": bytes(11_000_000)}))
    declare(archive, "dog/bomb.png", 100)
    assert "which no image does" in refusal(bytes(archive), settings=small)


def test_what_unreadable_members_really_unpack_to_counts(
    two_classes: Members, pack: Pack, refusal: Refusal, settings: Settings
) -> None:
    small = settings.model_copy(
        update={
            "inference": InferenceSettings(max_pixels=1_000_000),
            "datasets": DatasetsSettings(max_unpacked_bytes=15_000_000),
        }
    )
    odd = {f"dog/odd{number}.png": random.Random(number).randbytes(5000) + bytes(9_500_000) for number in range(2)}
    archive = bytearray(pack({**two_classes(), **odd}))
    for name in odd:
        declare(archive, name, 100)
    assert "unpacks to more than the 15000000 bytes accepted" in refusal(bytes(archive), settings=small)


def test_a_blank_bitmap_of_accepted_size_is_no_bomb(
    two_classes: Members, pack: Pack, run_prepare: Callable[..., dict]
) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (5000, 5000)).save(file, "BMP")
    members = {**two_classes(), "cat/blank.bmp": file.getvalue()}
    archive = pack(members)
    assert len(file.getvalue()) > 100 * len(archive)
    assert run_prepare(archive)["examples"] == len(members)


def test_arrays_of_nearly_blank_images_are_no_bomb(
    savez: Callable[..., bytes], run_prepare: Callable[..., dict]
) -> None:
    x = np.zeros((20, 2000, 2000), np.uint8)
    x[:, 0, 0] = range(20)
    upload = savez(x=x, y=np.arange(20) % 2)
    assert x.nbytes > 200 * len(upload)
    assert run_prepare(upload)["examples"] == 20
