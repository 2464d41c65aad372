"""Checks the ``input`` of a prediction against a signature, and describes input and output as JSON schema.

Admission refuses here what a worker could only fail later. No text made here repeats a value of the input, which may
be a secret.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidInput, TooLarge
from shared.jobs.job import WEIGHTS
from shared.models.signature import OPTION_NAMES, Signature, TensorKind, TensorSpec
from shared.rows import FLOAT_LIMITS, INTEGER_RANGES, Mismatch, check_rows, is_plain_text, rows_of, value_range
from shared.settings import Settings

# replicate 1.4.0 for JavaScript sends its own client object as input when told to encode files as data URIs.
_CLIENT_OBJECT = {"auth", "baseUrl", "fileEncodingStrategy"}
_MOST_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Options:
    """The keys of a prediction's ``input`` that are ours."""

    priority: str = "normal"
    top_k: int | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """What admission needs to know of an input that fits."""

    rows: int
    priority: str = "normal"
    top_k: int | None = None
    threshold: float | None = None


def check_input(signature: Signature, value: Any, *, settings: Settings, places: Container[str] = ()) -> CheckedInput:
    """Checks the ``input`` of a prediction.

    Args:
        signature: What the version takes.
        value: The parsed JSON.
        settings: Gives the limit of rows.
        places: Texts that stand for files of the artifact store, put in by us where URLs were.

    Raises:
        InvalidInput: Fields are missing, unknown or ill-typed; names each as ``input.<field>``, a missing one in the
            sentence only, as stock clients know it.
        TooLarge: More rows than ``inference.max_job_rows``.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput("The input must be an object with a key for each input of the model.", "input")
    if value.keys() >= _CLIENT_OBJECT:
        raise InvalidInput(
            "The input is a client's own configuration: leave out fileEncodingStrategy, which the JavaScript "
            "client 1.4.0 gets wrong, and put files into the input as data URLs.",
            "input",
        )
    names = [spec.name for spec in signature.inputs]
    problems = [_unknown(name, names) for name in value if name not in names and name not in OPTION_NAMES]
    options, rows = Options(), 0
    try:
        options = read_options(signature, value)
    except InvalidInput as problem:
        problems.append(problem)
    for spec in signature.inputs:
        try:
            count = _check_one(spec, value.get(spec.name), settings.inference.max_job_rows, places)
        except InvalidInput as problem:
            problems.append(problem)
            continue
        if rows and count != rows:
            sentence = f"but {names[0]} has {rows} and {spec.name} has {count}"
            problems.append(
                InvalidInput(f"All inputs must have the same number of rows, {sentence}.", f"input.{spec.name}")
            )
        rows = count
    if problems:
        raise InvalidInput.of(problems[:_MOST_PROBLEMS])
    return CheckedInput(rows, options.priority, options.top_k, options.threshold)


def read_options(signature: Signature, value: Mapping[str, Any]) -> Options:
    """Reads ``priority``, ``top_k`` and ``threshold``; one that is missing or null is not set.

    Raises:
        InvalidInput: One of them is ill-typed, or asks for scores of a model that gives none.
    """
    priority, top_k, threshold = value.get("priority"), value.get("top_k"), value.get("threshold")
    if priority is not None and not (isinstance(priority, str) and priority in WEIGHTS):
        raise InvalidInput(f"priority must be one of {', '.join(WEIGHTS)}.", "input.priority", "enum")
    for name, given in (("top_k", top_k), ("threshold", threshold)):
        if given is not None and not signature.is_classifier:
            raise InvalidInput(
                f"{name} needs a model that scores labels, and this one does not.",
                f"input.{name}",
                "additional_property_not_allowed",
            )
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise InvalidInput("top_k must be a whole number of at least 1.", "input.top_k")
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise InvalidInput("threshold must be a number from 0 to 1.", "input.threshold")
    return Options(priority or "normal", top_k, threshold)


def input_schema(signature: Signature) -> dict[str, Any]:
    """JSON schema of one row's ``input``, laid out as Replicate's clients expect ``components.schemas.Input``."""
    properties = {spec.name: {"title": _title(spec.name), **_value_schema(spec)} for spec in signature.inputs}
    if signature.is_classifier:
        properties["top_k"] = {
            "title": "Top K",
            "type": "integer",
            "minimum": 1,
            "description": "How many of the best labels to answer; all unless given.",
        }
        properties["threshold"] = {
            "title": "Threshold",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Abstain, with a null label, where the best score is lower.",
        }
    properties["priority"] = {
        "title": "Priority",
        "type": "string",
        "enum": list(WEIGHTS),
        "default": "normal",
        "description": "Share of the workers that this job's queue is given: high, normal and low are 16 : 4 : 1.",
    }
    for order, schema in enumerate(properties.values()):
        schema["x-order"] = order
    return {
        "title": "Input",
        "type": "object",
        "properties": properties,
        "required": [spec.name for spec in signature.inputs],
        "additionalProperties": False,
    }


def output_schema(signature: Signature, labels: Sequence[str] | None) -> dict[str, Any]:
    """JSON schema of the ``output``, ``components.schemas.Output``.

    That of one row, of which many rows answer a list; where the signature iterates that of any number of rows, marked
    so that stock clients hand them out one by one.
    """
    row = _row_schema(signature, labels)
    if signature.iterates:
        return {"title": "Output", "type": "array", "items": row, "x-cog-array-type": "iterator"}
    return {"title": "Output", **row}


def _row_schema(signature: Signature, labels: Sequence[str] | None) -> dict[str, Any]:
    if signature.is_classifier and labels:
        score = {"title": "Score", "type": "number"}
        label = {"title": "Label", "type": "string", "enum": list(labels)}
        scored = {"type": "object", "properties": {"label": label, "score": score}, "required": ["label", "score"]}
        return {
            "type": "object",
            "properties": {
                "label": {
                    "title": "Label",
                    "type": "string",
                    "nullable": True,
                    "description": "The best label; null where its score is below the threshold.",
                },
                "score": {**score, "description": "The best score."},
                "scores": {"title": "Scores", "type": "array", "items": scored, "description": "Best first."},
            },
            "required": ["label", "score", "scores"],
        }
    if len(signature.outputs) == 1:
        return _nested(signature.outputs[0], _leaf_schema(signature.outputs[0]))
    return {
        "type": "object",
        "properties": {
            spec.name: {"title": _title(spec.name), **_nested(spec, _leaf_schema(spec))} for spec in signature.outputs
        },
        "required": [spec.name for spec in signature.outputs],
    }


def _unknown(name: Any, names: Sequence[str]) -> InvalidInput:
    shown = str(name)[:64]
    return InvalidInput(
        f"The model has no input {shown!r}; it takes {', '.join(names)}.",
        f"input.{shown}",
        "additional_property_not_allowed",
    )


def _check_one(spec: TensorSpec, value: Any, max_rows: int, places: Container[str]) -> int:
    field = f"input.{spec.name}"
    if value is None:
        raise InvalidInput(f"{spec.name} is required.", "input", "required")
    try:
        rows, _ = rows_of(spec, value)
        if len(rows) > max_rows:
            raise TooLarge(f"{spec.name} has {len(rows)} rows and a job may have {max_rows}: send several jobs.")
        check_rows(spec, rows, places)
    except Mismatch as mismatch:
        raise InvalidInput(f"{spec.name} {mismatch}.", field) from None
    return len(rows)


def _value_schema(spec: TensorSpec) -> dict[str, Any]:
    if spec.kind is TensorKind.IMAGE:
        channels = {1: "grey", 3: "RGB", 4: "RGBA"}.get(spec.shape[-1] or 0, "its own channels")
        height, width = ("any" if size is None else size for size in spec.shape[:2])
        return {
            "type": "string",
            "format": "uri",
            "description": f"An image as URL, data URL or base64, read as {channels}, {height} high and {width} wide. "
            "A list of images is many rows.",
        }
    if is_plain_text(spec):
        return {
            "type": "string",
            "description": "A text, or the URL of an uploaded file or a data URL that holds one. A list of texts is "
            "many rows.",
        }
    leaf = _leaf_schema(spec)
    if spec.dtype in FLOAT_LIMITS:
        leaf["minimum"], leaf["maximum"] = value_range(spec)
    schema = _nested(spec, leaf)
    return {**schema, "description": f"{spec.dtype} of {spec.rank} axes. A list of such values is many rows."}


def _leaf_schema(spec: TensorSpec) -> dict[str, Any]:
    if spec.dtype in INTEGER_RANGES:
        low, high = value_range(spec)
        return {"type": "integer", "minimum": low, "maximum": high}
    if spec.dtype in FLOAT_LIMITS or spec.dtype == "bfloat16":
        return {"type": "number"}
    return {"type": "boolean" if spec.dtype == "bool" else "string"}


def _nested(spec: TensorSpec, leaf: dict[str, Any]) -> dict[str, Any]:
    schema = leaf
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": 1 if size is None else size}
        if size is not None:
            schema["maxItems"] = size
    return schema


def _title(name: str) -> str:
    return name.replace("_", " ").replace(".", " ").strip().title()
