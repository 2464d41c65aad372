"""Writes the examples of a spool as the files of a data set, one file at a time.

A file leaves for the artifact store as soon as it is whole, so at most one lies here beside the spool.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from shared.datasets.dataset import SPLITS, Shard, Split
from shared.datasets.store import DatasetStore
from shared.models.version import FileFacts
from workers.datasets.splits import Indices
from workers.datasets.spool import Spool
from workers.progress import Stage

SHARD_BYTES = 256 << 20
"""A shard ends with the example that reaches this many bytes."""


class ShardWriter:
    """Writes one data set.

    Args:
        spool: The examples.
        labels: How many labels there are.
        datasets: Where the files go.
        digest: The set's digest.
        folder: A folder of this machine for the file under way.
        stage: Told of every example.
        shard_bytes: Size at which a shard ends.
    """

    def __init__(
        self,
        spool: Spool,
        labels: int,
        datasets: DatasetStore,
        digest: str,
        folder: Path,
        stage: Stage,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._spool, self._labels, self._stage = spool, labels, stage
        self._datasets, self._digest, self._folder = datasets, digest, folder
        self._shard_bytes = shard_bytes
        self.files: dict[str, FileFacts] = {}

    def write(self, splits: tuple[Indices, ...]) -> dict[str, Split]:
        """Writes every split and says what it wrote; the files' facts are in ``files`` then."""
        return {name: self._split(name, examples) for name, examples in zip(SPLITS, splits, strict=True)}

    def _split(self, name: str, examples: Indices) -> Split:
        labels = np.asarray(self._spool.labels, np.int32)[examples]
        with self._new(f"{name}.labels.npy") as path:
            np.save(path, labels)
        write = self._encoded if self._spool.is_encoded else self._arrays
        shards = tuple(write(name, examples)) if len(examples) else ()
        return Split(tuple(np.bincount(labels, minlength=self._labels).tolist()), shards)

    def _arrays(self, name: str, examples: Indices) -> Iterator[Shard]:
        shape = self._spool.image_shape
        assert shape is not None  # raw examples have one shape
        size = max(1, self._shard_bytes // int(np.prod(shape)))
        for number, start in enumerate(range(0, len(examples), size)):
            chosen = examples[start : start + size]
            shard = Shard(f"{name}-{number:05d}", len(chosen))
            with self._new(f"{shard.name}.npy") as path, path.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(chosen), *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for index in chosen.tolist():
                    file.write(self._spool.pixels(index).tobytes())
                    self._stage.step()
            yield shard

    def _encoded(self, name: str, examples: Indices) -> Iterator[Shard]:
        remaining = iter(examples.tolist())
        done = number = 0
        while done < len(examples):
            shard_name = f"{name}-{number:05d}"
            offsets = [0]
            with self._new(f"{shard_name}.bin") as path, path.open("wb") as file:
                for index in remaining:
                    offsets.append(offsets[-1] + file.write(self._spool.png(index)))
                    self._stage.step()
                    if offsets[-1] >= self._shard_bytes:
                        break
            with self._new(f"{shard_name}.offsets.npy") as path:
                np.save(path, np.asarray(offsets, np.int64))
            yield Shard(shard_name, len(offsets) - 1)
            done, number = done + len(offsets) - 1, number + 1

    @contextmanager
    def _new(self, path: str) -> Iterator[Path]:
        """A file under way, sent when the block ends well."""
        local = self._folder / path
        yield local
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[path] = {"sha256": digest, "bytes": local.stat().st_size}
        self._datasets.put_file(self._digest, path, local)
        local.unlink()
