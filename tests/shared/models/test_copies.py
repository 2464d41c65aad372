import os
import time
from pathlib import Path

from shared.models.copies import RECENT_SECONDS, prune_copies

HOUR = RECENT_SECONDS


def copy(cache: Path, name: str, age_seconds: float = 0.0, size: int = 100) -> Path:
    folder = cache / name
    (folder / "warmup").mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"x" * (size - 10))
    (folder / "warmup" / "sample.npz").write_bytes(b"x" * 10)
    os.utime(folder, (time.time() - age_seconds,) * 2)
    return folder


def test_the_copies_that_were_not_fetched_for_longest_go_first(tmp_path: Path) -> None:
    for name, hours in (("a", 5), ("b", 2), ("c", 3), ("d", 4)):
        copy(tmp_path, name, hours * HOUR)
    prune_copies(tmp_path, 250, lambda _: True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]


def test_a_copy_that_may_still_be_being_loaded_stays(tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy(tmp_path, name)
    copy(tmp_path, "old", 2 * HOUR)
    prune_copies(tmp_path, 1, lambda _: True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_copies_of_deleted_versions_and_halves_that_were_left_over_go(tmp_path: Path) -> None:
    for name, age in (("kept", 0), ("deleted", 0), ("kept.half", 0), ("kept.left", 2 * HOUR)):
        copy(tmp_path, name, age)
    prune_copies(tmp_path, 10_000, lambda version: version == "kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.half"]


def test_where_nothing_was_copied_there_is_nothing_to_do(tmp_path: Path) -> None:
    prune_copies(tmp_path / "none", 1, lambda _: True)
    assert not (tmp_path / "none").exists()
