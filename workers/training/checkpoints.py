"""Everything that an interrupted training needs to go on as if nothing had happened, in one folder.

    checkpoints/{job}/{steps done}/arrays.npz     weights, optimizer, random state, best weights so far
    checkpoints/{job}/{steps done}/state.json     the rest, and the digest of the arrays; written last

The order of the examples is no part of it, since it follows from seed and epoch.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.artifacts import ArtifactStore

SCHEMA = 1
"""Number of the form of ``state.json``."""

Arrays = dict[str, NDArray[Any]]


@dataclass(slots=True)
class TrainingState:
    """How far a training is."""

    recipe: str
    """Version id of the recipe; a checkpoint of another one is of no use."""
    dataset: str
    """Digest of the data set, which stays though its name may move."""
    parameters: Mapping[str, Any]
    epoch: int = 0
    """Epochs that are done."""
    batch: int = 0
    """Batches of the next epoch that are done."""
    steps: int = 0
    """Batches of all epochs that are done."""
    loss_sum: float = 0.0
    """Sum over the examples of the epoch under way."""
    correct: int = 0
    seen: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    """A list for each figure, with a value for each epoch that is done."""
    best_epoch: int = 0
    """The epoch (from 1) whose weights are the best so far; 0 before there is one."""
    best_loss: float | None = None
    epochs_since_best: int = 0
    is_stopped: bool = False
    """Whether early stopping has ended the training."""
    seconds: float = 0.0
    """Time spent over all attempts."""


class Checkpoints:
    """The checkpoints of one training; the one with the most steps counts.

    Args:
        store: Where they lie.
        job_id: The training.
    """

    def __init__(self, store: ArtifactStore, job_id: str) -> None:
        self._store = store
        self.folder = f"checkpoints/{job_id}"

    def save(self, state: TrainingState, arrays: Arrays, scratch: Path) -> None:
        """Keeps a checkpoint, then drops those before it.

        Args:
            state: How far the training is.
            arrays: Weights and the like, by name.
            scratch: A folder of this machine for the file under way.
        """
        name = f"{state.steps:012d}-{state.epoch:06d}"
        local = scratch / "arrays.npz"
        members: Any = arrays  # the names are ours and none is an option of savez
        np.savez(local, **members)
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._store.put(local, f"{self.folder}/{name}/arrays.npz")
        form = {"schema": SCHEMA, "arrays_sha256": digest, **asdict(state)}
        self._store.write(f"{self.folder}/{name}/state.json", json.dumps(form).encode())
        local.unlink()
        for other in self._store.names(self.folder):
            if other < name:
                self._store.delete(f"{self.folder}/{other}")

    def newest(self, recipe: str, note: Callable[[str], None]) -> tuple[TrainingState, Arrays] | None:
        """The newest checkpoint that is whole and of this recipe, ``None`` where there is none.

        Args:
            recipe: Version id of the recipe.
            note: Told of checkpoints that cannot be used.
        """
        for name in reversed(self._store.names(self.folder)):
            try:
                form = json.loads(self._store.read(f"{self.folder}/{name}/state.json"))
                data = self._store.read(f"{self.folder}/{name}/arrays.npz")
                if form.pop("schema") != SCHEMA or form["recipe"] != recipe:
                    note(f"checkpoint {name} is of another version of the service and is not used")
                    continue
                if hashlib.sha256(data).hexdigest() != form.pop("arrays_sha256"):
                    note(f"checkpoint {name} is damaged and is not used")
                    continue
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    return TrainingState(**form), {key: arrays[key] for key in arrays.files}
            except FileNotFoundError:
                continue  # its writer died before state.json
            except (ValueError, KeyError, TypeError, zipfile.BadZipFile):
                note(f"checkpoint {name} is damaged and is not used")
        return None

    def delete(self) -> None:
        """Drops all checkpoints of the training."""
        self._store.delete(self.folder)
