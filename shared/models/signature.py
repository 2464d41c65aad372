"""The signature of a version: what its model takes and gives, without the batch axis.

A value of an input's rank is one row; a value of one rank more, or a list of images or texts, is many rows. An image
is height, width, channels with values from 0 to 255, whatever its dtype. ``null`` in a shape means any size; rows that
differ there share a call only where ``pads`` says that zeros behind a row change nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

OPTION_NAMES = frozenset({"top_k", "threshold", "priority"})
"""Keys of a prediction's ``input`` that are ours; no input of a model may be called so."""


class TensorKind(StrEnum):
    """What the numbers of a tensor mean."""

    IMAGE = "image"
    TEXT = "text"
    TENSOR = "tensor"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    kind: TensorKind
    dtype: str
    shape: tuple[int | None, ...]
    pads: bool = False
    """Whether axes of any size may be padded with zeros without changing an answer; proven at import, else false."""

    @property
    def rank(self) -> int:
        """Axes of one row."""
        return len(self.shape)

    @property
    def is_fixed(self) -> bool:
        """Whether every row has the same shape."""
        return None not in self.shape

    def to_json(self) -> dict[str, Any]:
        """The frozen form that manifests keep."""
        form: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind.value,
            "dtype": self.dtype,
            "shape": list(self.shape),
        }
        return {**form, "pads": True} if self.pads else form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "TensorSpec":
        """Reads the frozen form."""
        return cls(
            name=form["name"],
            kind=TensorKind(form["kind"]),
            dtype=form["dtype"],
            shape=tuple(form["shape"]),
            pads=bool(form.get("pads", False)),
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """All inputs and outputs of a model, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    iterates: bool = False
    """Whether the output is told row by row: always the list of the answers to rows, also for one row."""

    @property
    def is_classifier(self) -> bool:
        """Whether the one output holds a score for each label of the version."""
        return len(self.outputs) == 1 and self.outputs[0].kind is TensorKind.CATEGORY

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, ``None`` where there is none."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The frozen form that manifests keep."""
        form: dict[str, Any] = {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }
        return {**form, "iterates": True} if self.iterates else form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Signature":
        """Reads the frozen form."""
        return cls(
            inputs=tuple(TensorSpec.from_json(spec) for spec in form["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in form["outputs"]),
            iterates=bool(form.get("iterates", False)),
        )
