"""The recipes: what can be trained, as plain data that needs no TensorFlow.

On the wire a recipe is a model of the owner ``headrace`` with one version, whose id is the SHA-256 of its manifest.
Whatever changes the network or the meaning of a parameter raises ``revision``, and so makes another version.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidInput
from shared.models.version import RESERVED_OWNER

SCHEMA = 1
"""Number of the manifest's form."""


class ImageClassifierParameters(BaseModel):
    """What a training of the image classifier may be told; the ``input`` of its job."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="TrainingInput")

    dataset: Annotated[str, Field(min_length=1, max_length=64, description="Name or digest of the data set.")]
    epochs: Annotated[int, Field(ge=1, le=10_000, description="How often every training image is seen.")] = 8
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Images in one step.")] = 32
    image_size: Annotated[
        int | None,
        Field(
            ge=16,
            le=512,
            description="Side of the square that images are resized to inside the model; by default the data set's own "
            "height and width where all images share them, each held between 16 and 256, else 64.",
        ),
    ] = None
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="How steps are made of gradients.")] = (
        "adam"
    )
    learning_rate: Annotated[
        float | None,
        Field(gt=0, le=10, allow_inf_nan=False, description="Size of a step; 0.001 by default, and 0.01 for sgd."),
    ] = None
    dropout: Annotated[
        float, Field(ge=0, lt=1, allow_inf_nan=False, description="Share of features dropped before the dense layers.")
    ] = 0.0
    early_stopping: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Epochs without a better validation loss after which training stops; the best epoch's weights "
            "are kept. 0 trains all epochs and keeps the last.",
        ),
    ] = 0
    seed: Annotated[
        int, Field(ge=0, le=2**31 - 1, description="Decides first weights, order of the images and dropout.")
    ] = 0

    @property
    def step_size(self) -> float:
        """The learning rate, the optimizer's usual one where none was given."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.optimizer == "sgd" else 0.001


@dataclass(frozen=True, slots=True)
class Recipe:
    """Something that can be trained.

    Args:
        name: Its model name under the owner ``headrace``.
        revision: Raised with every change of what a training does.
        description: One sentence for people.
        data: The kind of data set that it takes.
        network: The layers, in words.
        parameters: The form of a training's input.
    """

    name: str
    revision: int
    description: str
    data: str
    network: tuple[str, ...]
    parameters: type[ImageClassifierParameters]
    created_at: str
    """When this revision came into the service; fixed, so that every host answers alike."""

    @property
    def owner(self) -> str:
        """The reserved owner."""
        return RESERVED_OWNER

    @property
    def model(self) -> str:
        """The recipe's name on the wire, ``headrace/…``."""
        return f"{RESERVED_OWNER}/{self.name}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the version id is made of; nothing in it depends on the versions of libraries."""
        fields = self.parameters.model_fields
        return {
            "schema": SCHEMA,
            "owner": RESERVED_OWNER,
            "name": self.name,
            "revision": self.revision,
            "data": self.data,
            "network": list(self.network),
            "defaults": {name: None if field.is_required() else field.default for name, field in fields.items()},
        }

    @property
    def version_id(self) -> str:
        """SHA-256 of the canonical manifest."""
        canonical = json.dumps(self.manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def training_schema(self) -> dict[str, Any]:
        """JSON schema of a training's input, the component ``TrainingInput`` of the version."""
        schema = self.parameters.model_json_schema()
        schema.pop("description", None)
        for order, field in enumerate(schema["properties"].values()):
            field["x-order"] = order
        return schema

    def validate(self, value: Any) -> ImageClassifierParameters:
        """Reads a training's input.

        Raises:
            InvalidInput: Names the first field that does not fit, ``input.epochs``.
        """
        if not isinstance(value, Mapping):
            raise InvalidInput('A training\'s input is an object, for example {"dataset": "digits"}.', "input")
        try:
            return self.parameters.model_validate(dict(value))
        except ValidationError as error:
            raise _refusal(error) from error


def _refusal(error: ValidationError) -> InvalidInput:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    # The path of a union ends in the member that was tried, which is no field of the caller's.
    field = ".".join(["input", *(str(part) for part in first["loc"][:1])])
    kind = {"missing": "required", "extra_forbidden": "additional_property_not_allowed", "literal_error": "enum"}.get(
        first["type"], "type" if first["type"].endswith("_type") else "range"
    )
    sentence = {
        "required": f"{field} is required.",
        "additional_property_not_allowed": f"{field} is not a parameter of this recipe.",
    }.get(kind, f"{field}: {first['msg']}.")
    return InvalidInput(sentence, field, kind)


IMAGE_CLASSIFIER = Recipe(
    name="image-classifier",
    revision=1,
    description="The convolutional network of the TensorFlow tutorials, for labelled images of any size.",
    data="image-classification",
    network=(
        "resize",
        "scale 1/255",
        "conv 32 3x3 relu",
        "max pool 2x2",
        "conv 64 3x3 relu",
        "max pool 2x2",
        "flatten",
        "dropout",
        "dense 64 relu",
        "dense classes softmax",
    ),
    parameters=ImageClassifierParameters,
    created_at="2026-01-01T00:00:00.000Z",
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (IMAGE_CLASSIFIER,)}
"""All recipes by name."""


def find_recipe(owner: str, name: str) -> Recipe | None:
    """The recipe that a model of the wire is, ``None`` where it is an ordinary model."""
    return RECIPES.get(name) if owner == RESERVED_OWNER else None


def recipe_of_version(version_id: str) -> Recipe | None:
    """The recipe whose version this is, ``None`` where no recipe has it."""
    return next((recipe for recipe in RECIPES.values() if recipe.version_id == version_id), None)
