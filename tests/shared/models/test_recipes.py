import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from shared.errors import InvalidInput
from shared.models.recipes import IMAGE_CLASSIFIER, find_recipe, recipe_of_version
from shared.models.version import is_version_id


def test_a_recipe_is_found_by_its_model_and_by_its_version() -> None:
    assert is_version_id(IMAGE_CLASSIFIER.version_id)
    assert find_recipe("headrace", "image-classifier") is recipe_of_version(IMAGE_CLASSIFIER.version_id)
    assert find_recipe("me", "image-classifier") is find_recipe("headrace", "x") is recipe_of_version("0" * 64) is None


def test_the_version_changes_only_with_the_recipe() -> None:
    # A changed id means that every client's pinned version is gone: raise the revision on purpose, then this.
    assert IMAGE_CLASSIFIER.version_id == "b5ebededa53b1b2804e74a21af5a5d14466337107fee67b832af813369aaae21"


def test_defaults_are_filled_in() -> None:
    parameters = IMAGE_CLASSIFIER.validate({"dataset": "digits"})
    assert parameters.epochs == 8 and parameters.step_size == 0.001 and parameters.image_size is None
    assert IMAGE_CLASSIFIER.validate({"dataset": "digits", "optimizer": "sgd"}).step_size == 0.01
    assert IMAGE_CLASSIFIER.validate({"dataset": "digits", "learning_rate": 1}).step_size == 1


@pytest.mark.parametrize(
    ("value", "field", "kind"),
    [
        ({}, "input.dataset", "required"),
        ({"dataset": 3}, "input.dataset", "type"),
        ({"dataset": ""}, "input.dataset", "range"),
        ({"dataset": "d", "epochs": 0}, "input.epochs", "range"),
        ({"dataset": "d", "epochs": "3"}, "input.epochs", "type"),
        ({"dataset": "d", "epochs": True}, "input.epochs", "type"),
        ({"dataset": "d", "batch_size": 5000}, "input.batch_size", "range"),
        ({"dataset": "d", "image_size": 8}, "input.image_size", "range"),
        ({"dataset": "d", "optimizer": "rmsprop"}, "input.optimizer", "enum"),
        ({"dataset": "d", "learning_rate": 0}, "input.learning_rate", "range"),
        ({"dataset": "d", "learning_rate": float("nan")}, "input.learning_rate", "range"),
        ({"dataset": "d", "dropout": 1}, "input.dropout", "range"),
        ({"dataset": "d", "seed": -1}, "input.seed", "range"),
        ({"dataset": "d", "layers": 3}, "input.layers", "additional_property_not_allowed"),
        ([], "input", "type"),
        (None, "input", "type"),
    ],
)
def test_what_does_not_fit_names_the_field(value: Any, field: str, kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        IMAGE_CLASSIFIER.validate(value)
    assert caught.value.facts["invalid_fields"][0]["field"] == field
    assert caught.value.facts["invalid_fields"][0]["type"] == kind
    if isinstance(value, dict) and value.get("learning_rate") == value.get("learning_rate"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, IMAGE_CLASSIFIER.training_schema)


def test_the_schema_is_one_and_accepts_what_is_accepted() -> None:
    schema = IMAGE_CLASSIFIER.training_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "TrainingInput" and schema["required"] == ["dataset"]
    assert [field["x-order"] for field in schema["properties"].values()] == list(range(len(schema["properties"])))
    assert all("description" in field for field in schema["properties"].values())
    full = IMAGE_CLASSIFIER.validate({"dataset": "digits", "image_size": 32}).model_dump()
    jsonschema.validate(full, schema)
    assert IMAGE_CLASSIFIER.validate(full).model_dump() == full


def test_recipes_need_no_tensorflow_and_no_numpy() -> None:
    code = (
        "import sys, shared.models.recipes, shared.datasets.store;"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'PIL') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
