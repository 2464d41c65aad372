import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from shared.artifacts import ArtifactStore
from shared.datasets.store import DatasetStore
from shared.errors import JobCanceled, JobReleased
from shared.settings import Settings
from workers.datasets import prepare
from workers.examples import open_examples

Members = Callable[..., dict[str, bytes]]
Pack = Callable[..., bytes]
Prepare = Callable[..., dict]


def test_folders_become_classes_and_every_split_has_all_of_them(
    two_classes: Members, pack: Pack, run_prepare: Prepare, artifacts: ArtifactStore
) -> None:
    output = run_prepare(pack(two_classes(20)))
    assert output["name"] == "pets" and output["classes"] == {"cat": 20, "dog": 20}
    assert output["splits"] == {"train": 32, "validation": 4, "test": 4}
    assert output["split_classes"]["test"] == {"cat": 2, "dog": 2}
    assert output["image_shape"] == [6, 5, 3] and output["unreadable"] == []
    assert not artifacts.names("uploads")


@pytest.mark.parametrize("top", ["", "animals/", "a/b/"])
def test_a_common_top_folder_changes_nothing(top: str, two_classes: Members, pack: Pack, run_prepare: Prepare) -> None:
    plain = run_prepare(pack(two_classes()))
    below = run_prepare(pack({top + name: data for name, data in two_classes().items()}), name="below")
    assert below["digest"] == plain["digest"]


def test_names_and_order_of_the_files_change_nothing(two_classes: Members, pack: Pack, run_prepare: Prepare) -> None:
    members = two_classes()
    renamed = {name.replace("/", "/z"): data for name, data in reversed(members.items())}
    assert run_prepare(pack(members))["digest"] == run_prepare(pack(renamed), name="renamed")["digest"]
    assert run_prepare(pack(members), seed=1)["digest"] != run_prepare(pack(members))["digest"]


def test_given_splits_are_kept_and_missing_ones_come_out_of_training(
    png: Callable[..., bytes], pack: Pack, run_prepare: Prepare, datasets: DatasetStore
) -> None:
    members = {
        f"data/{split}/{label}/{index}.png": png(index + 100 * (label == "cat") + 1000 * (split == "train"))
        for split, count in (("train", 18), ("test", 5))
        for label in ("cat", "dog")
        for index in range(count)
    }
    output = run_prepare(pack(members))
    assert output["splits"] == {"train": 32, "validation": 4, "test": 10}
    assert output["given_splits"] == ["train", "test"]
    members |= {name.replace("/test/", "/val/"): data for name, data in members.items() if "/test/" in name}
    output = run_prepare(pack(members))
    assert output["splits"] == {"train": 36, "validation": 10, "test": 10}
    assert output["duplicates"] == output["duplicates_across_splits"] == 10


def test_files_that_are_no_images_are_reported_and_the_others_kept(
    two_classes: Members, pack: Pack, run_prepare: Prepare
) -> None:
    members = two_classes()
    extra = {
        "README.txt": b"about",
        "cat/notes.csv": b"a,b",
        "cat/text.png": b"no image at all",
        "cat/cut.png": members["cat/0.png"][:80],
        "loose.png": members["cat/0.png"],
        "__MACOSX/cat/._1.png": b"litter",
        "dog/.DS_Store": b"litter",
        "dog/Thumbs.db": b"litter",
    }
    output = run_prepare(pack({**members, **extra}))
    reasons = {item["file"]: item["reason"] for item in output["unreadable"]}
    assert reasons.keys() == {"README.txt", "cat/notes.csv", "cat/text.png", "cat/cut.png", "loose.png"}
    assert "not a PNG" in reasons["cat/text.png"] and "truncated" in reasons["cat/cut.png"]
    assert "class folder" in reasons["loose.png"] and "does not end" in reasons["README.txt"]
    assert output["unreadable_count"] == 5 and output["examples"] == 20


def test_the_same_images_pushed_again_tell_what_was_unreadable_of_their_own_upload(
    two_classes: Members, pack: Pack, run_prepare: Prepare, datasets: DatasetStore
) -> None:
    first = run_prepare(pack({**two_classes(), "cat/first.png": b"no image"}), name="pets")
    second = run_prepare(pack({**two_classes(), "cat/2nd.png": b"no image", "dog/2nd.png": b""}), name="animals")
    assert second["digest"] == first["digest"] and second["names"] == ["animals", "pets"]
    for name, output, files in (
        ("pets", first, ["cat/first.png"]),
        ("animals", second, ["cat/2nd.png", "dog/2nd.png"]),
    ):
        shown = datasets.get(name).public()
        assert shown["name"] == output["name"] == name
        assert [entry["file"] for entry in shown["unreadable"]] == files
        assert shown["unreadable"] == output["unreadable"] and shown["unreadable_count"] == len(files)


def test_an_image_of_too_many_pixels_is_reported(two_classes: Members, pack: Pack, run_prepare: Prepare) -> None:
    members = two_classes()
    head = members["cat/0.png"][12:16] + struct.pack(">II", 30_000, 30_000) + members["cat/0.png"][24:29]
    bomb = members["cat/0.png"][:12] + head + struct.pack(">I", zlib.crc32(head)) + members["cat/0.png"][33:]
    output = run_prepare(pack({**members, "cat/bomb.png": bomb}))
    assert [item["file"] for item in output["unreadable"]] == ["cat/bomb.png"]
    assert "30000 x 30000" in output["unreadable"][0]["reason"]


def test_images_of_different_sizes_and_grey_ones_keep_their_pixels(
    png: Callable[..., bytes],
    pack: Pack,
    run_prepare: Prepare,
    datasets: DatasetStore,
    artifacts: ArtifactStore,
    settings: Settings,
) -> None:
    sizes = [(6, 5, 1), (6, 5, 3), (9, 4, 3), (3, 3, 1)] * 3
    members = {f"{n % 2}/{n}.png": png(n, *size) for n, size in enumerate(sizes)}
    output = run_prepare(pack(members))
    assert output["image_shape"] is None and output["channels"] == 3
    dataset = datasets.get("pets")
    splits = open_examples(artifacts, dataset, settings.data_dir, lambda: None)
    found = {
        (int(examples.labels[i]), examples.image(i).tobytes())
        for examples in splits.values()
        for i in range(len(examples))
    }
    expected = {
        (n % 2, Image.open(io.BytesIO(data)).convert("RGB").tobytes()) for n, data in enumerate(members.values())
    }
    assert found == expected


def test_labels_that_are_numbers_sort_as_numbers(png: Callable[..., bytes], pack: Pack, run_prepare: Prepare) -> None:
    members = {f"{label}/{i}.png": png(10 * label + i) for label in (10, 9, 2) for i in range(3)}
    assert list(run_prepare(pack(members))["classes"]) == ["2", "9", "10"]


def test_both_spellings_of_an_accent_are_one_class(png: Callable[..., bytes], pack: Pack, run_prepare: Prepare) -> None:
    members = {"e\u0301te\u0301/1.png": png(1), "\u00e9t\u00e9/2.png": png(2), "b/1.png": png(3), "b/2.png": png(4)}
    assert run_prepare(pack(members))["classes"] == {"b": 2, "\u00e9t\u00e9": 2}


def test_too_few_classes_or_images_are_refused_by_name(
    png: Callable[..., bytes], pack: Pack, refusal: Callable[..., str]
) -> None:
    assert "at least two classes" in refusal(pack({f"cat/{i}.png": png(i) for i in range(5)}))
    assert "at least two classes" in refusal(pack({f"{i}.png": png(i) for i in range(5)}))
    assert "no image files" in refusal(pack({"cat/readme.txt": b"x"}))
    poor = refusal(pack({"cat/1.png": png(1), "cat/2.png": png(2), "dog/1.png": png(3), "dog/2.png": b"junk"}))
    assert "'dog'" in poor and "'cat'" not in poor and "1 files could not be read" in poor


def test_shares_and_seed_that_make_no_sense_are_refused(
    two_classes: Members, pack: Pack, refusal: Callable[..., str]
) -> None:
    assert "add up to 1" in refusal(pack(two_classes()), splits={"train": 0.5, "test": 0.1})
    assert "seed" in refusal(pack(two_classes()), seed=-1)


def test_copies_of_an_image_stay_in_one_split_and_are_counted(
    two_classes: Members, pack: Pack, run_prepare: Prepare
) -> None:
    members = two_classes(10)
    copies = {name.replace(".png", "-copy.png"): data for name, data in members.items()}
    mislabelled = {"dog/cat.png": members["cat/0.png"]}
    output = run_prepare(pack({**members, **copies}))
    assert output["duplicates"] == 20 and output["duplicates_across_splits"] == 0
    assert run_prepare(pack({**members, **mislabelled}))["conflicting_labels"] == 1


def test_an_attempt_after_a_death_answers_what_the_first_one_published(
    two_classes: Members,
    pack: Pack,
    artifacts: ArtifactStore,
    datasets: DatasetStore,
    settings: Settings,
    make_run: Callable,
) -> None:
    artifacts.write("uploads/one", pack(two_classes()))
    run = make_run("dataset", name="pets", upload="uploads/one")
    first = prepare(run, settings, artifacts, datasets)
    assert prepare(make_run(job=run.job), settings, artifacts, datasets) == first


@pytest.mark.parametrize("end", ["cancel_at", "release_at"])
def test_a_job_that_is_taken_away_publishes_nothing_and_keeps_its_upload(
    end: str,
    two_classes: Members,
    pack: Pack,
    artifacts: ArtifactStore,
    datasets: DatasetStore,
    settings: Settings,
    make_run: Callable,
) -> None:
    artifacts.write("uploads/one", pack(two_classes()))
    for check in (1, 15, 30, 41):
        run = make_run("dataset", name="pets", upload="uploads/one")
        setattr(run, end, check)
        with pytest.raises((JobCanceled, JobReleased)):
            prepare(run, settings, artifacts, datasets)
        assert run.checks == check and datasets.list() == [] and artifacts.exists("uploads/one")
    assert (
        prepare(make_run("dataset", name="pets", upload="uploads/one"), settings, artifacts, datasets)["examples"] == 20
    )


def test_a_lost_upload_is_a_sentence(
    artifacts: ArtifactStore, datasets: DatasetStore, settings: Settings, make_run: Callable, refusal: Callable
) -> None:
    with pytest.raises(Exception, match="no longer there"):
        prepare(make_run("dataset", name="pets", upload="uploads/none"), settings, artifacts, datasets)
