"""An immutable set of labelled images, split for training, validation and test.

    datasets/{digest}/manifest.json           what ``Dataset.to_json`` says, written last
    datasets/{digest}/{split}.labels.npy      int32, one for each example
    datasets/{digest}/{shard}.npy             uint8, examples × height × width × channels, where all sizes are equal
    datasets/{digest}/{shard}.bin             PNG files one behind the other, where sizes differ or are large
    datasets/{digest}/{shard}.offsets.npy     int64, where each PNG begins, and the end
    datasets/names/{name}.json                the digest that a name means, and the report of the push that named it

The digest is the SHA-256 of labels, kind, seed, splits and the pixels of every example in order. Names of files and
the order in an upload do not count, so the same images make the same set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import InvalidInput
from shared.models.version import FileFacts

SCHEMA = 1
"""Number of the manifest's form; raised when a field changes its meaning."""

IMAGE_CLASSIFICATION = "image-classification"
"""The kind of data set whose examples are an image and one of the labels."""

SPLITS = ("train", "validation", "test")
"""The splits, in the order in which the digest takes them."""

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""How examples are shared out unless the upload says so itself."""

UNREADABLE_LISTED = 200
"""How many unreadable files a report names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of a split's examples in one file."""

    name: str
    examples: int


@dataclass(frozen=True, slots=True)
class Split:
    """One of the splits: its examples lie in its shards in order."""

    counts: tuple[int, ...]
    """Examples of each label."""
    shards: tuple[Shard, ...]

    @property
    def examples(self) -> int:
        """Examples of all labels."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to an upload on its way to a data set."""

    unreadable: tuple[tuple[str, str], ...] = ()
    """File and reason, at most ``UNREADABLE_LISTED`` of them."""
    unreadable_count: int = 0
    duplicates: int = 0
    """Examples whose pixels equal those of an earlier one."""
    duplicates_across_splits: int = 0
    """Validation and test examples whose pixels also lie in a split before theirs."""
    conflicting_labels: int = 0
    """Different images that occur under more than one label."""
    given_splits: tuple[str, ...] = ()
    """Splits that the upload brought itself."""

    def to_json(self) -> dict[str, Any]:
        """The report as manifests and replies carry it."""
        return {
            "unreadable": [{"file": file, "reason": reason} for file, reason in self.unreadable],
            "unreadable_count": self.unreadable_count,
            "duplicates": self.duplicates,
            "duplicates_across_splits": self.duplicates_across_splits,
            "conflicting_labels": self.conflicting_labels,
            "given_splits": list(self.given_splits),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Report":
        """Reads what ``to_json`` wrote."""
        return cls(
            unreadable=tuple((item["file"], item["reason"]) for item in form["unreadable"]),
            unreadable_count=form["unreadable_count"],
            duplicates=form["duplicates"],
            duplicates_across_splits=form["duplicates_across_splits"],
            conflicting_labels=form["conflicting_labels"],
            given_splits=tuple(form["given_splits"]),
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set, as its manifest says."""

    digest: str
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    files: Mapping[str, FileFacts]
    channels: int
    image_shape: tuple[int, int, int] | None
    """Height, width and channels where all images share them."""
    is_encoded: bool
    """Whether shards hold PNG files; else arrays."""
    seed: int
    fractions: Mapping[str, float]
    created_at: str
    report: Report = Report()
    kind: str = IMAGE_CLASSIFICATION
    schema: int = SCHEMA
    names: tuple[str, ...] = field(default=(), compare=False)
    """Names that mean this set now; no part of the manifest."""
    name: str | None = field(default=None, compare=False)
    """The name whose push ``report`` tells of; ``None`` for the manifest's own, of the push that made the set."""

    @property
    def folder(self) -> str:
        """Where the set lies in the artifact store."""
        return f"datasets/{self.digest}"

    @property
    def examples(self) -> int:
        """Examples of all splits."""
        return sum(split.examples for split in self.splits.values())

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(facts["bytes"] for facts in self.files.values())

    @property
    def classes(self) -> dict[str, int]:
        """Examples of each label over all splits."""
        sums = map(sum, zip(*(split.counts for split in self.splits.values()), strict=True))
        return dict(zip(self.labels, sums, strict=True))

    def public(self) -> dict[str, Any]:
        """What callers see: the answer of ``/v1/datasets/{name}`` and the output of the job that made the set."""
        return {
            "name": self.name or (self.names[0] if self.names else None),
            "names": list(self.names),
            "digest": self.digest,
            "kind": self.kind,
            "created_at": self.created_at,
            "examples": self.examples,
            "bytes": self.bytes,
            "classes": self.classes,
            "splits": {name: split.examples for name, split in self.splits.items()},
            "split_classes": {
                name: dict(zip(self.labels, split.counts, strict=True)) for name, split in self.splits.items()
            },
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "channels": self.channels,
            "seed": self.seed,
            "fractions": dict(self.fractions),
            **self.report.to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """The manifest."""
        return {
            "schema": self.schema,
            "digest": self.digest,
            "kind": self.kind,
            "created_at": self.created_at,
            "labels": list(self.labels),
            "splits": {
                name: {
                    "counts": list(split.counts),
                    "shards": [{"name": shard.name, "examples": shard.examples} for shard in split.shards],
                }
                for name, split in self.splits.items()
            },
            "files": {path: dict(facts) for path, facts in self.files.items()},
            "channels": self.channels,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "is_encoded": self.is_encoded,
            "seed": self.seed,
            "fractions": dict(self.fractions),
            "report": self.report.to_json(),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any], names: tuple[str, ...] = ()) -> "Dataset":
        """Reads a manifest."""
        shape = form["image_shape"]
        return cls(
            digest=form["digest"],
            labels=tuple(form["labels"]),
            splits={
                name: Split(
                    counts=tuple(split["counts"]),
                    shards=tuple(Shard(shard["name"], shard["examples"]) for shard in split["shards"]),
                )
                for name, split in form["splits"].items()
            },
            files=form["files"],
            channels=form["channels"],
            image_shape=None if shape is None else (shape[0], shape[1], shape[2]),
            is_encoded=form["is_encoded"],
            seed=form["seed"],
            fractions=form["fractions"],
            created_at=form["created_at"],
            report=Report.from_json(form["report"]),
            kind=form["kind"],
            schema=form["schema"],
            names=names,
        )


def parse_fractions(value: Any) -> dict[str, float]:
    """Reads the field ``splits`` of an upload.

    Args:
        value: Parsed JSON; ``None`` for the default.

    Raises:
        InvalidInput: Not an object of shares that add up to one, with some for training and some for the test.
    """
    if value is None:
        return dict(DEFAULT_FRACTIONS)
    example = 'for example {"train": 0.8, "validation": 0.1, "test": 0.1}'
    if not isinstance(value, Mapping) or set(value) - set(SPLITS):
        raise InvalidInput(f"splits is an object of {', '.join(SPLITS)}, {example}.", "splits")
    shares = {name: value.get(name, 0.0) for name in SPLITS}
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise InvalidInput(f"splits.{name} is a number from 0 to 1.", f"splits.{name}")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise InvalidInput(f"The shares in splits add up to 1, {example}.", "splits", "range")
    if not shares["train"] or not shares["test"]:
        raise InvalidInput("splits leaves some images for train and some for test.", "splits", "range")
    return {name: float(share) for name, share in shares.items()}


def parse_seed(value: Any) -> int:
    """Reads the field ``seed`` of an upload; 0 where it is ``None``.

    Raises:
        InvalidInput: Not a whole number from 0 to 2147483647.
    """
    if value is None:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidInput("seed is a whole number from 0 to 2147483647.", "seed")
    return value
