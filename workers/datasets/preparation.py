"""Turns an upload into a data set: reads it once, shares it out, writes it, and gives it its name.

An attempt that is cut short leaves nothing public, since the manifest comes last, and the next one begins anew. One
that dies between the name and the end of its job is recognised by the name.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shared.artifacts import ArtifactStore
from shared.datasets.dataset import SPLITS, Dataset, Report, parse_fractions, parse_seed
from shared.datasets.store import DatasetStore
from shared.errors import DatasetRefused, InvalidInput, JobError, Unavailable
from shared.models.version import iso
from shared.settings import Settings
from workers.datasets.archive import Archive
from workers.datasets.arrays import read_arrays
from workers.datasets.folders import Unreadable, read_folders
from workers.datasets.shards import ShardWriter
from workers.datasets.splits import Indices, content_digest, groups, share_out
from workers.datasets.spool import NO_SPLIT, Spool
from workers.progress import Stage
from workers.run import Run
from workers.scratch import scratch_folder

LEAST_IMAGES = 2
"""Images that a class needs, one to learn from and one to be tested with."""


def prepare(run: Run, settings: Settings, store: ArtifactStore, datasets: DatasetStore) -> dict[str, Any]:
    """Runs a job of the kind ``dataset``.

    Args:
        run: The job; its details hold ``name``, ``upload`` (a path in the store) and perhaps ``seed`` and ``splits``.
        settings: The process's settings.
        store: Where the upload lies; it is removed once its fate is sealed.
        datasets: Where the data set goes.

    Returns:
        The data set as callers see it.

    Raises:
        DatasetRefused: The upload cannot become a data set.
    """
    details = run.job.details
    name, upload = str(details["name"]), str(details["upload"])
    dataset = datasets.named_by(name, run.job.id)
    if dataset is None:
        try:
            seed, fractions = parse_seed(details.get("seed")), parse_fractions(details.get("splits"))
            with _local_faults(), _spool(settings) as (spool, folder):
                dataset = _dataset(run, settings, store, datasets, spool, folder, seed, fractions)
            datasets.name(name, dataset.digest, run.job.id, dataset.report)
        except InvalidInput as error:
            store.delete(upload)
            raise DatasetRefused(error.detail) from error
        except JobError:
            store.delete(upload)
            raise
    store.delete(upload)
    return replace(dataset, name=name, names=tuple(sorted({*dataset.names, name}))).public()


def _dataset(
    run: Run,
    settings: Settings,
    store: ArtifactStore,
    datasets: DatasetStore,
    spool: Spool,
    folder: Path,
    seed: int,
    fractions: dict[str, float],
) -> Dataset:
    unreadable = Unreadable()
    labels = _read(run, settings, store, spool, unreadable)
    _check_classes(labels, spool, unreadable)
    splits = share_out(spool.labels, spool.digests, spool.splits, fractions, seed)
    shape = spool.image_shape
    facts = {"labels": list(labels), "seed": seed, "channels": spool.channels, "image_shape": shape and list(shape)}
    digest = content_digest(facts, spool.labels, spool.digests, splits)
    report = _report(spool, splits, unreadable)
    if datasets.holds(digest):
        run.log(f"these images are a data set already: {digest}")
        return replace(datasets.get(digest), report=report)
    stage = Stage(run, "writing", len(spool), "image")
    writer = ShardWriter(spool, len(labels), datasets, digest, folder, stage)
    written = writer.write(splits)
    stage.tell()
    dataset = Dataset(
        digest=digest,
        labels=labels,
        splits=written,
        files=writer.files,
        channels=spool.channels,
        image_shape=shape,
        is_encoded=spool.is_encoded,
        seed=seed,
        fractions=fractions,
        created_at=iso(run.job.created_at),
        report=report,
    )
    run.check()
    datasets.publish(dataset)
    run.log(f"{dataset.examples} images of {len(labels)} classes are data set {digest}")
    return dataset


def _read(run: Run, settings: Settings, store: ArtifactStore, spool: Spool, unreadable: Unreadable) -> tuple[str, ...]:
    upload = str(run.job.details["upload"])
    try:
        file = store.open(upload)
    except FileNotFoundError as error:
        raise DatasetRefused("the upload is no longer there; send it again") from error
    with file:
        archive = Archive(file, settings.datasets)
        stage = Stage(run, "reading", len(archive.members), "file")
        if any(member.name.endswith(".npy") for member in archive.members):
            labels = read_arrays(archive, spool, settings, stage)
        else:
            labels = read_folders(archive, spool, settings, unreadable, stage)
        stage.tell()
    return labels


def _check_classes(labels: tuple[str, ...], spool: Spool, unreadable: Unreadable) -> None:
    lost = f"; {unreadable.count} files could not be read" if unreadable.count else ""
    if unreadable.listed:
        file, reason = unreadable.listed[0]
        lost += f", the first is {file[:80]!r}: {reason}"
    if len(labels) < 2:
        only = f"only {labels[0]!r}" if labels else "none"
        raise DatasetRefused(f"at least two classes are needed, the upload has {only}{lost}")
    counts = Counter(spool.labels)
    poor = [label for index, label in enumerate(labels) if counts[index] < LEAST_IMAGES]
    if poor:
        shown = ", ".join(repr(label) for label in poor[:5]) + (", …" if len(poor) > 5 else "")
        raise DatasetRefused(
            f"every class needs at least {LEAST_IMAGES} readable images, these have fewer: {shown}{lost}"
        )


def _report(spool: Spool, splits: tuple[Indices, ...], unreadable: Unreadable) -> Report:
    group_of = groups(spool.digests)
    labels = np.asarray(spool.labels, np.int64)
    across = 0
    seen: Indices = np.empty(0, np.int64)
    for examples in splits:
        here = group_of[examples]
        across += int(np.isin(here, seen).sum())
        seen = np.union1d(seen, here)
    pairs = np.unique(np.stack([group_of, labels]), axis=1)
    given = {split for split in set(spool.splits) if split != NO_SPLIT}
    return Report(
        unreadable=tuple(unreadable.listed),
        unreadable_count=unreadable.count,
        duplicates=len(labels) - len(seen),
        duplicates_across_splits=across,
        conflicting_labels=int((np.bincount(pairs[0]) > 1).sum()),
        given_splits=tuple(name for index, name in enumerate(SPLITS) if index in given),
    )


@contextmanager
def _spool(settings: Settings) -> Iterator[tuple[Spool, Path]]:
    with scratch_folder(settings, "dataset") as folder:
        spool = Spool(folder, settings.datasets.max_unpacked_bytes, settings.datasets.max_files)
        try:
            yield spool, folder
        finally:
            spool.close()


@contextmanager
def _local_faults() -> Iterator[None]:
    """A full disk or a broken connection is no fault of the upload: another attempt may find it mended."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The worker could not read or write a file: {error.strerror or error}.") from error
