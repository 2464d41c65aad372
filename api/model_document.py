"""Makes the OpenAPI document of one version: its paths out of the whole, with its own input and output."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from api.samples import sample_inputs
from api.snippets import prediction_snippets, training_snippets
from shared.models.recipes import Recipe
from shared.models.version import ModelVersion
from shared.tensors import input_schema, output_schema

_REFERENCE = "#/components/schemas/"
_MODEL_PREDICTIONS = "/v1/models/{owner}/{name}/predictions"
_PREDICTIONS = "/v1/predictions"
_TRAININGS = "/v1/models/{owner}/{name}/versions/{version_id}/trainings"
_FOLLOWED = ("get", "post")
_OWN = ("Input", "Output", "TrainingInput")  # what a reader looks for comes first


def prediction_document(
    whole: Mapping[str, Any], version: ModelVersion, base: str, *, is_production: bool
) -> dict[str, Any]:
    """The document of a version that predicts.

    Args:
        whole: The document of the service.
        version: The version.
        base: Address of the service, for the snippets.
        is_production: Whether the model's name means this version.
    """
    operation = copy.deepcopy(whole["paths"][_MODEL_PREDICTIONS if is_production else _PREDICTIONS]["post"])
    operation["summary"] = f"Makes a prediction with {version.model}."
    operation["parameters"] = [entry for entry in operation["parameters"] if entry["in"] == "header"]
    form = "NewModelPrediction" if is_production else "NewPrediction"
    # Files as parts and as body are told of by the service's own document.
    inputs = sample_inputs(version.signature)
    body: dict[str, Any] = {} if is_production else {"version": version.id}
    if all(sample.is_printed for sample in inputs.values()):
        body["input"] = {name: sample.value for name, sample in inputs.items()}
    operation["requestBody"] = {"required": True, "content": _json(_REFERENCE + form, body)}
    reference = version.model if is_production else f"{version.model}:{version.id}"
    operation["x-codeSamples"] = prediction_snippets(base, reference, inputs, iterates=version.signature.iterates)
    schemas = copy.deepcopy(whole["components"]["schemas"])
    schemas["Input"] = _of_many_rows(input_schema(version.signature), inputs)
    schemas["Output"] = _of_3_1(output_schema(version.signature, version.labels))
    schemas[form]["properties"]["input"] = {"$ref": _REFERENCE + "Input"}
    if not is_production:
        schemas[form]["properties"]["version"]["const"] = version.id
    schemas["JobObject"]["properties"]["output"] = _output(version)
    model = version.model
    path = f"/v1/models/{model}/predictions" if is_production else _PREDICTIONS
    return _document(
        whole, f"{model}", version.id, {path: {"post": operation}, **_followed(whole, "predictions")}, schemas
    )


def training_document(whole: Mapping[str, Any], recipe: Recipe, base: str, dataset: str) -> dict[str, Any]:
    """The document of a recipe.

    Args:
        whole: The document of the service.
        recipe: The recipe.
        base: Address of the service, for the snippets.
        dataset: Name of a data set, for the snippets.
    """
    operation = copy.deepcopy(whole["paths"][_TRAININGS]["post"])
    operation["parameters"] = [entry for entry in operation["parameters"] if entry["in"] == "header"]
    operation["x-codeSamples"] = training_snippets(
        base, recipe.model, recipe.version_id, "me/trained", {"dataset": dataset, "epochs": 1}
    )
    schemas = copy.deepcopy(whole["components"]["schemas"])
    schemas["TrainingInput"] = recipe.training_schema
    schemas["NewTraining"]["properties"]["input"] = {"$ref": _REFERENCE + "TrainingInput"}
    path = f"/v1/models/{recipe.model}/versions/{recipe.version_id}/trainings"
    paths = {path: {"post": operation}, **_followed(whole, "trainings")}
    return _document(whole, recipe.model, recipe.version_id, paths, schemas)


def empty_document(whole: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The document of a model without versions."""
    return _document(whole, model, "none", {}, {})


def _document(
    whole: Mapping[str, Any], title: str, version: str, paths: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    _cut_links(paths)
    needed = _needed(paths, schemas)
    tags = {tag for item in paths.values() for operation in item.values() for tag in operation["tags"]}
    return {
        "openapi": whole["openapi"],
        "info": {"title": title, "version": version},
        "tags": [tag for tag in whole["tags"] if tag["name"] in tags],
        "paths": paths,
        "components": {
            "schemas": {name: schemas[name] for name in sorted(needed, key=lambda name: (name not in _OWN, name))},
            "securitySchemes": whole["components"]["securitySchemes"],
        },
    }


def _followed(whole: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What a client does with the job that it made."""
    paths = (f"/v1/{kind}/{{job_id}}", f"/v1/{kind}/{{job_id}}/cancel")
    return {
        path: {method: copy.deepcopy(item) for method, item in whole["paths"][path].items() if method in _FOLLOWED}
        for path in paths
    }


def _needed(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> set[str]:
    needed: set[str] = set()
    left = list(_references(paths))
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left.extend(_references(schemas[name]))
    return needed


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "$ref":
                yield inner.removeprefix(_REFERENCE)
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _json(reference: str, example: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"example": dict(example)} if "input" in example else {}
    return {"application/json": {"schema": {"$ref": reference}, **shown}}


def _of_many_rows(schema: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The input with the model's own values as one row or many, and options that may be null.

    Stock clients are shown the simpler form of one row in the version object.
    """
    for name, value in schema["properties"].items():
        kept = {key: value.pop(key) for key in ("title", "description", "default", "x-order") if key in value}
        other = {"type": "array", "items": value, "minItems": 1} if name in inputs else {"type": "null"}
        schema["properties"][name] = {**kept, "anyOf": [value, other]}
    return schema


def _output(version: ModelVersion) -> dict[str, Any]:
    """The output of a job: the answer to one row or a list of answers, or always the list."""
    whole, nothing = {"$ref": _REFERENCE + "Output"}, {"type": "null"}
    if version.signature.iterates:
        told = "What the model answers, row by row: those that are there while the job runs; null until the first one."
        return {"anyOf": [whole, nothing], "description": told}
    return {
        "anyOf": [whole, {"type": "array", "items": whole}, nothing],
        "description": "What the model answers, a list of it for many rows; null until the job has ended.",
    }


def _cut_links(paths: Mapping[str, Any]) -> None:
    """Takes out the links to what is not in the document."""
    operations = [operation for item in paths.values() for operation in item.values()]
    there = {operation["operationId"] for operation in operations}
    for operation in operations:
        for reply in operation["responses"].values():
            links = reply.get("links", {})
            reply["links"] = {name: link for name, link in links.items() if link["operationId"] in there}


def _of_3_1(schema: Any) -> Any:
    """The schema with ``nullable`` as OpenAPI 3.1 writes it; stock clients read the older form of 3.0."""
    if isinstance(schema, list):
        return [_of_3_1(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    form = {name: _of_3_1(inner) for name, inner in schema.items() if name != "nullable"}
    if schema.get("nullable") is True and isinstance(form.get("type"), str):
        form["type"] = [form["type"], "null"]
    return form
