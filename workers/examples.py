"""Reads the examples of a data set where they lie, in any order, without loading them all.

Files of a local store are mapped into memory, those of another one are copied here first. Either way their digests
are verified before the first example is read.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.artifacts import ArtifactStore
from shared.datasets.dataset import Dataset
from shared.errors import JobError, Unavailable
from workers.images import open_image

Pixels = NDArray[np.uint8]

_CHUNK_BYTES = 4 << 20
_MOST_PIXELS = 1 << 40  # what lies in a data set was measured when it came


class Examples:
    """One split of a data set.

    Args:
        dataset: The set.
        split: Name of the split.
        folder: Where the set's files lie on this machine.
    """

    def __init__(self, dataset: Dataset, split: str, folder: Path) -> None:
        shards = dataset.splits[split].shards
        self.labels: NDArray[np.int32] = np.load(folder / f"{split}.labels.npy", allow_pickle=False)
        self._channels = dataset.channels
        self._is_encoded = dataset.is_encoded
        self._starts = np.cumsum([0, *(shard.examples for shard in shards)])
        if dataset.is_encoded:
            self._shards = [np.memmap(folder / f"{shard.name}.bin", np.uint8, "r") for shard in shards]
            self._offsets = [np.load(folder / f"{shard.name}.offsets.npy", allow_pickle=False) for shard in shards]
        else:
            self._shards = [np.load(folder / f"{shard.name}.npy", "r", allow_pickle=False) for shard in shards]
            self._offsets = []

    def __len__(self) -> int:
        """Examples of the split."""
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """One image: height, width, channels."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        place = index - int(self._starts[shard])
        if not self._is_encoded:
            return np.array(self._shards[shard][place])
        begin, end = self._offsets[shard][place : place + 2]
        return open_image(self._shards[shard][begin:end].tobytes(), max_pixels=_MOST_PIXELS, channels=self._channels)

    def stacked(self, indices: NDArray[np.int64]) -> Pixels:
        """Images of one shape as one array, in the order of their indices."""
        if self._is_encoded:
            return np.stack([self.image(int(index)) for index in indices])
        images = np.empty((len(indices), *self._shards[0].shape[1:]), np.uint8)
        shard_of = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(shard_of).tolist():
            here = shard_of == shard
            images[here] = self._shards[shard][indices[here] - self._starts[shard]]
        return images


def open_examples(
    store: ArtifactStore, dataset: Dataset, folder: Path, check: Callable[[], None]
) -> dict[str, Examples]:
    """Opens every split of a data set.

    Args:
        store: Where the set lies.
        dataset: Which.
        folder: An empty folder of this machine for copies; nothing is copied out of a store that is local.
        check: Called again and again meanwhile, so that a job can be ended.

    Raises:
        JobError: A file is missing or is not what was published.
        Unavailable: One came damaged out of a store that is elsewhere.
    """
    here = store.local_path(dataset.folder)
    for path, facts in dataset.files.items():
        check()
        try:
            if here is None:
                store.get(f"{dataset.folder}/{path}", folder / path)
            digest = _digest((here or folder) / path, check)
        except FileNotFoundError as error:
            raise JobError(f"the data set {dataset.digest} was deleted or lacks its file {path}") from error
        if digest != facts["sha256"]:
            if here is None:  # a copy, which may have been cut off on its way
                raise Unavailable(f"The file {path} of data set {dataset.digest} came damaged; try again.")
            raise JobError(f"the file {path} of data set {dataset.digest} was changed; upload the set again")
    return {split: Examples(dataset, split, here or folder) for split in dataset.splits}


def _digest(path: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            check()
            digest.update(chunk)
    return digest.hexdigest()
