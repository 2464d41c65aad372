"""Reads a zip of image files whose folders are the classes.

cat/1.png  dog/1.png                          one folder for each class
animals/cat/1.png  animals/dog/1.png          the same in one common folder
train/cat/1.png  test/cat/1.png               given splits, also validation/ or val/
"""

import unicodedata
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from shared.datasets.dataset import UNREADABLE_LISTED
from shared.errors import DatasetRefused, InputError
from shared.settings import Settings
from workers.datasets.archive import Archive, Member
from workers.datasets.labels import checked_labels, ordered
from workers.datasets.splits import TEST, TRAIN, VALIDATION
from workers.datasets.spool import NO_SPLIT, Pixels, Spool
from workers.images import open_image
from workers.progress import Stage

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
"""How the names of image files end."""

SPLIT_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""Top folders that are splits, not classes, where one of them is for training."""

_LITTER = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(slots=True)
class Unreadable:
    """The files of an upload that did not become examples."""

    listed: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0

    def add(self, file: str, reason: str) -> None:
        """Counts a file, and lists it while there is room."""
        self.count += 1
        if len(self.listed) < UNREADABLE_LISTED:
            self.listed.append((file, reason))


def read_folders(
    archive: Archive, spool: Spool, settings: Settings, unreadable: Unreadable, stage: Stage
) -> tuple[str, ...]:
    """Decodes every image of an archive into the spool.

    Args:
        archive: The upload.
        spool: Where the examples go.
        settings: The process's settings.
        unreadable: Where files go that are no images.
        stage: Told of every file.

    Returns:
        The labels, in order.

    Raises:
        DatasetRefused: The folders do not say what the classes are, or a file is an archive bomb.
    """
    max_pixels = settings.inference.max_pixels
    most = 2 * _most_bytes(max_pixels)  # twice, since colours of 16 bits are no bomb either
    archive.refuse_bombs(most)
    images, others = _candidates(archive.members)
    for member in others:
        unreadable.add(member.name, "its name does not end in .png, .jpg, .jpeg, .webp, .gif or .bmp")
    depth, splits = _layout(images)
    parts_of = [(member, PurePosixPath(member.name).parts[depth:]) for member in images]
    in_class = [(member, parts) for member, parts in parts_of if len(parts) > 1 + bool(splits)]
    labels = checked_labels(ordered({_label(parts[bool(splits)]) for _, parts in in_class}))
    index_of = {label: index for index, label in enumerate(labels)}
    for member, parts in parts_of:
        stage.step()
        if len(parts) <= 1 + bool(splits):
            unreadable.add(member.name, "it lies in no class folder")
            continue
        split = splits[parts[0].lower()] if splits else NO_SPLIT
        label = index_of[_label(parts[bool(splits)])]
        try:
            spool.add(_decoded(archive, member, max_pixels), label, split)
        except InputError as error:
            archive.refuse_hidden_bomb(member, most)
            unreadable.add(member.name, error.message)
    return labels


def _label(folder: str) -> str:
    # macOS writes accents as characters of their own; both spellings are one class.
    return unicodedata.normalize("NFC", folder)


def _most_bytes(max_pixels: int) -> int:
    # No image of an accepted size needs more bytes than uncompressed colours with transparency do.
    return 4 * max_pixels + (1 << 20)


def _decoded(archive: Archive, member: Member, max_pixels: int) -> Pixels:
    most = _most_bytes(max_pixels)
    if member.size > most:
        raise InputError(f"the file has {member.size} bytes, more than the {most} accepted", code="E1002")
    return open_image(archive.read(member), max_pixels=max_pixels, channels=None)


def _candidates(members: list[Member]) -> tuple[list[Member], list[Member]]:
    images: list[Member] = []
    others: list[Member] = []
    for member in members:
        parts = PurePosixPath(member.name).parts
        # What macOS and Windows leave behind is nobody's image and nobody's mistake.
        if any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in _LITTER:
            continue
        (images if PurePosixPath(member.name).suffix.lower() in SUFFIXES else others).append(member)
    return images, others


def _layout(images: list[Member]) -> tuple[int, dict[str, int]]:
    """How many common folders lie above everything, and which folders below them are splits."""
    if not images:
        raise DatasetRefused("the archive holds no image files; send a .zip of one folder of images per class")
    paths = [PurePosixPath(member.name).parts for member in images]
    depth = 0
    while min(map(len, paths)) - depth > 2 and len({parts[depth] for parts in paths}) == 1:
        depth += 1
    tops = {parts[depth].lower() for parts in paths if len(parts) > depth + 1}
    is_split = tops <= SPLIT_FOLDERS.keys() and any(SPLIT_FOLDERS[top] == TRAIN for top in tops)
    if is_split and min(map(len, paths)) - depth > 2:
        return depth, {top: SPLIT_FOLDERS[top] for top in tops}
    return depth, {}
