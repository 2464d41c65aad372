"""What the classes of a data set may be called, and how many there may be."""

from collections.abc import Iterable, Sequence

from shared.errors import DatasetRefused

MOST_CLASSES = 10_000
"""Most classes of a data set."""

MOST_LABEL = 128
"""Most characters of a label."""


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels as they came.

    Raises:
        DatasetRefused: Two are equal, there are too many, or one cannot be shown.
    """
    if len(labels) > MOST_CLASSES:
        raise DatasetRefused(f"the upload has {len(labels)} classes, more than the {MOST_CLASSES} accepted")
    if len(set(labels)) < len(labels):
        raise DatasetRefused("two classes of the upload have the same name")
    for label in labels:
        if not label.strip() or len(label) > MOST_LABEL or not label.isprintable():
            raise DatasetRefused(f"{label[:80]!r} cannot be a label: use up to {MOST_LABEL} printable characters")
    return tuple(labels)


def ordered(labels: Iterable[str]) -> list[str]:
    """Labels in the alphabet's order; where all are digits in the numbers' order, so that 10 comes after 9."""
    known = list(labels)
    if all(label.isascii() and label.isdigit() for label in known):
        return sorted(known, key=lambda label: (int(label), label))
    return sorted(known)
