"""An immutable version of a model and the id that follows from its content.

The id is the SHA-256 of the canonical manifest, which holds the model's name and the digest of every file. So an id
names one version over all models, and whoever holds the id can tell whether what lies in the store is what was meant.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

from shared.models.signature import Signature

SCHEMA = 1
"""Number of the manifest's form; raised when a field changes its meaning."""

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
"""What owners, models, aliases, data sets and accounts may be called."""

VERSION_ID_PATTERN = r"[0-9a-f]{64}"
"""What a version id looks like."""

RESERVED_OWNER = "headrace"
"""The owner of what comes with the service; nobody else's models may carry it."""

MODEL_FILE = "model.keras"
"""The file of a version that holds the network."""

WARMUP_FILE = "warmup/sample.npz"
"""The file of a version that holds one sample row, an array for each input without the batch axis; text as unicode."""


def is_name(text: str) -> bool:
    """Whether something may be called so."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def is_version_id(text: str) -> bool:
    """Whether the text has the form of a version id."""
    return re.fullmatch(VERSION_ID_PATTERN, text) is not None


def iso(seconds: float) -> str:
    """A moment as manifests, records and replies write it: UTC, ISO 8601, ending in ``Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FileFacts(TypedDict):
    """What the manifest says of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version, as its manifest says."""

    owner: str
    name: str
    created_at: str
    source: str
    """``import`` or ``training``."""
    job_id: str
    files: Mapping[str, FileFacts]
    signature: Signature
    labels: tuple[str, ...] | None = None
    recipe: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What a training was told, or what an import added to the network (``scale``, ``mean``, ``std``, ``softmax``)."""
    dataset: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] | None = None
    parent: str | None = None
    sample: Any = None
    """What the model answered to the sample of its import, in the form of a prediction's output."""
    warnings: tuple[str, ...] = ()
    schema: int = SCHEMA
    id: str = field(init=False)
    """64 hexadecimal digits that no other version has."""

    def __post_init__(self) -> None:
        """Makes the id; once, since it is asked for on every request."""
        canonical = json.dumps(self._content(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        object.__setattr__(self, "id", hashlib.sha256(canonical.encode()).hexdigest())

    @property
    def model(self) -> str:
        """The model that this is a version of, ``owner/name``."""
        return f"{self.owner}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """The manifest, with the id."""
        return {"id": self.id, **self._content()}

    def _content(self) -> dict[str, Any]:
        return {
            "schema": self.schema,
            "owner": self.owner,
            "name": self.name,
            "created_at": self.created_at,
            "source": self.source,
            "job_id": self.job_id,
            "files": {path: dict(facts) for path, facts in self.files.items()},
            "signature": self.signature.to_json(),
            "labels": None if self.labels is None else list(self.labels),
            "recipe": self.recipe,
            "parameters": dict(self.parameters),
            "dataset": self.dataset,
            "metrics": dict(self.metrics),
            "history": None if self.history is None else dict(self.history),
            "parent": self.parent,
            "sample": self.sample,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "ModelVersion":
        """Reads a manifest; its ``id`` is not believed but made again from the rest."""
        return cls(
            schema=form["schema"],
            owner=form["owner"],
            name=form["name"],
            created_at=form["created_at"],
            source=form["source"],
            job_id=form["job_id"],
            files=form["files"],
            signature=Signature.from_json(form["signature"]),
            labels=None if form["labels"] is None else tuple(form["labels"]),
            recipe=form["recipe"],
            parameters=form["parameters"],
            dataset=form["dataset"],
            metrics=form["metrics"],
            history=form["history"],
            parent=form["parent"],
            sample=form["sample"],
            warnings=tuple(form["warnings"]),
        )
