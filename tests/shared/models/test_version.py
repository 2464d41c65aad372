import dataclasses
import json
from typing import Any

import pytest

from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion, is_name, is_version_id, iso

FILES: Any = {"model.keras": {"sha256": "0" * 64, "bytes": 3}}


@pytest.fixture
def version(signature: Signature) -> ModelVersion:
    return ModelVersion(
        owner="acme",
        name="thing",
        created_at=iso(0),
        source="import",
        job_id="a1",
        files=FILES,
        signature=signature,
        labels=("nö", "yes"),
        parameters={"scale": 1 / 255},
    )


def test_a_manifest_comes_back_as_it_was(version: ModelVersion) -> None:
    form = json.loads(json.dumps(version.to_json()))
    assert ModelVersion.from_json(form) == version
    assert form["id"] == version.id and form["schema"] == 1 and is_version_id(version.id)


def test_the_id_does_not_depend_on_the_order_of_keys(version: ModelVersion) -> None:
    form = version.to_json()
    assert ModelVersion.from_json(dict(reversed(form.items()))).id == version.id


def test_whatever_changes_changes_the_id(version: ModelVersion) -> None:
    changes: dict[str, Any] = {
        "owner": "other",
        "name": "other",
        "labels": ("yes", "nö"),
        "parameters": {"scale": 1 / 254},
        "files": {"model.keras": {"sha256": "1" * 64, "bytes": 3}},
        "job_id": "a2",
        "warnings": ("careful",),
    }
    ids = {dataclasses.replace(version, **{field: value}).id for field, value in changes.items()}
    assert len(ids | {version.id}) == len(changes) + 1


def test_the_frozen_form_of_a_signature() -> None:
    form = {
        "inputs": [{"name": "image", "kind": "image", "dtype": "uint8", "shape": [32, None, 3]}],
        "outputs": [{"name": "scores", "kind": "category", "dtype": "float32", "shape": [10]}],
    }
    signature = Signature.from_json(form)
    assert signature.to_json() == form
    assert signature.is_classifier and signature.inputs[0].rank == 3 and not signature.inputs[0].is_fixed
    spec = TensorSpec("ids", TensorKind.TENSOR, "int32", (None,), pads=True)
    assert TensorSpec.from_json(spec.to_json()) == spec
    assert signature.input("image") == signature.inputs[0] and signature.input("other") is None
    assert not signature.iterates
    told = dataclasses.replace(signature, iterates=True)
    assert told.to_json() == {**form, "iterates": True} and Signature.from_json(told.to_json()) == told


@pytest.mark.parametrize("text", ["a", "cifar-10", "v1.2_x", "0", "a" * 63])
def test_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "-a", ".a", "A", "a/b", "a b", "a" * 64, "..", "ä", "a\n"])
def test_texts_that_are_no_names(text: str) -> None:
    assert not is_name(text)
