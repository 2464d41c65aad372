import base64
import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from shared.errors import InvalidInput, TooLarge
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.rows import flat_rows, rows_of
from shared.settings import InferenceSettings, Settings
from shared.tensors import CheckedInput, check_input, input_schema, output_schema

SETTINGS = Settings()
IMAGE = "data:image/png;base64," + base64.b64encode(b"any bytes at all").decode()


def signature(classifier: bool = False, **inputs: Any) -> Signature:
    specs = [TensorSpec(name, TensorKind(kind), dtype, *rest) for name, (kind, dtype, *rest) in inputs.items()]
    kind = TensorKind.CATEGORY if classifier else TensorKind.TENSOR
    return Signature(tuple(specs), (TensorSpec("output", kind, "float32", (3,)),))


PICTURES = signature(classifier=True, image=("image", "uint8", (2, 2, 3)))


def numbers(dtype: str, *shape: int | None) -> Signature:
    return signature(x=("tensor", dtype, shape))


def rows(of: Signature, **value: Any) -> int:
    return check_input(of, value, settings=SETTINGS).rows


def refusal(of: Signature, value: Any, settings: Settings = SETTINGS) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_input(of, value, settings=settings)
    assert caught.value.facts["invalid_fields"][0]["field"] == caught.value.field
    return caught.value


def test_one_image_is_one_row_and_a_list_is_many() -> None:
    assert rows(PICTURES, image=IMAGE) == 1
    assert rows(PICTURES, image=IMAGE.partition(",")[2]) == 1
    assert rows(PICTURES, image=[IMAGE]) == 1
    assert rows(PICTURES, image=[IMAGE] * 3) == 3
    assert rows(PICTURES, image=[[[0, 1, 2]] * 2] * 2) == 1
    assert rows(PICTURES, image=[[[[0, 1, 2]] * 2] * 2] * 5) == 5


def test_a_value_of_the_signatures_rank_is_one_row_and_of_one_more_is_many() -> None:
    assert rows(numbers("float32"), x=1.5) == 1
    assert rows(numbers("float32"), x=[1, 2, 3]) == 3
    assert rows(numbers("float32", 2), x=[1, 2]) == 1
    assert rows(numbers("float32", 2), x=[[1, 2]] * 4) == 4
    assert refusal(numbers("float32", 2), {"x": 1}).field == "input.x"
    assert refusal(numbers("float32", 2), {"x": [[[1, 2]]]}).field == "input.x"


def test_texts_are_rows() -> None:
    for shape in ((), (1,)):
        texts = signature(text=("text", "string", shape))
        assert rows(texts, text="hello") == 1
        assert rows(texts, text=["hello", "you"]) == 2
        for bad in (1, [], [1], ["a", 2], [["a"]], {"0": "a"}):
            assert refusal(texts, {"text": bad}).field == "input.text"


def test_rows_of_an_axis_of_any_size_may_differ_from_each_other_but_not_inside() -> None:
    ragged = numbers("int32", None)
    assert rows(ragged, x=[[1, 2, 3], [4]]) == 2
    assert rows(numbers("int32", None, 2), x=[[[1, 2]], [[1, 2], [3, 4]]]) == 2
    assert "ragged" in refusal(numbers("int32", None, None), {"x": [[1, 2], [3]]}).detail
    assert "row 2 of 2" in refusal(ragged, {"x": [[1], []]}).detail
    assert "row" not in refusal(numbers("float32", 2), {"x": [1, 2, 3]}).detail


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("uint8", [0, 255], [-1, 256, 1.0, True, "1", None]),
        ("int8", [-128, 127], [-129, 128]),
        ("int64", [-(2**63), 2**63 - 1], [2**63, 1e3]),
        ("uint64", [2**64 - 1], [2**64]),
        ("float16", [65504, -1.5], [65505]),
        ("float32", [3.4e38, 1, -0.0], [3.5e38, 10**400, math.nan, math.inf, False]),
        ("float64", [1.7e308], [math.inf, -math.inf, 10**400]),
        ("bool", [True, False], [0, 1, "true"]),
        ("string", ["", "a"], [0, None]),
        ("complex64", [], [1]),
    ],
)
def test_values_must_be_of_the_dtype_and_in_its_range(dtype: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert rows(numbers(dtype, 1), x=[value]) == 1
    for value in bad:
        assert refusal(numbers(dtype, 1), {"x": [value]}).field == "input.x"


def test_shapes_must_be_the_signatures() -> None:
    for bad in ([[1, 2], [3, 4, 5]], [[1, 2]], [[1], [2]], [], [[], []], [[1, 2], 3], [[1, 2], None], "x", {"a": 1}):
        assert refusal(numbers("float32", 2, 2), {"x": bad}).field == "input.x"


def test_pixels_as_numbers_lie_between_0_and_255_whatever_the_dtype() -> None:
    floats = signature(image=("image", "float32", (1, 1, 3)))
    assert rows(floats, image=[[[0.5, 255, 0]]]) == 1
    refusal(floats, {"image": [[[0, 256, 0]]]})


def test_typed_arrays_of_javascript_are_lists() -> None:
    assert rows(numbers("float32", 3), x={"0": 1, "1": 2.5, "2": 3}) == 1
    assert rows(numbers("float32", 2), x=[{"0": 1, "1": 2}, {"0": 3, "1": 4}]) == 2
    assert rows(numbers("float32"), x={"1": 2, "0": 1}) == 2
    spec = numbers("float32", 2).inputs[0]
    assert flat_rows(spec, rows_of(spec, {"1": 5, "0": 4})[0]) == ([4, 5], (2,))
    for bad in ({"0": 1, "2": 3}, {"zero": 1, "one": 2}, {}):
        refusal(numbers("float32", 2), {"x": bad})


def test_missing_extra_and_ill_typed_fields_are_named() -> None:
    missing = refusal(PICTURES, {})
    assert (missing.field, missing.facts["invalid_fields"][0]["type"]) == ("input", "required")
    extra = refusal(PICTURES, {"image": IMAGE, "colour": "red"})
    assert extra.field == "input.colour"
    assert extra.facts["invalid_fields"][0]["type"] == "additional_property_not_allowed"
    assert refusal(PICTURES, {"image": 5}).field == "input.image"
    assert refusal(PICTURES, {"image": None}).field == "input"
    for value in (None, [], "image", 5):
        assert refusal(PICTURES, value).field == "input"


def test_all_that_does_not_fit_is_named_at_once() -> None:
    many = refusal(numbers("float32"), {"y": 1, "priority": "urgent", "z": 2})
    fields = [(field["type"], field["field"]) for field in many.facts["invalid_fields"]]
    unknown = "additional_property_not_allowed"
    assert fields == [(unknown, "input.y"), (unknown, "input.z"), ("enum", "input.priority"), ("required", "input")]
    assert "x is required." in many.detail and "'z'" in many.detail
    crowd = refusal(numbers("float32"), {f"y{number}": 1 for number in range(50)})
    assert len(crowd.facts["invalid_fields"]) == 10


def test_a_place_in_the_artifact_store_is_taken_from_us_and_from_nobody_else() -> None:
    place, other = "artifact:files/a1/content", "artifact:files/a2/content"
    for value in (place, [IMAGE, place]):
        assert "must be a URL" in refusal(PICTURES, {"image": value}).detail
        check_input(PICTURES, {"image": value}, settings=SETTINGS, places={place})
    with pytest.raises(InvalidInput, match="row 2 of 2"):
        check_input(PICTURES, {"image": [place, other]}, settings=SETTINGS, places={place})


@pytest.mark.parametrize("text", ["", "a", "ab=", "====", "a-_b", "data:image/png,abcd", "data:image/png;base64", "ä"])
def test_unsound_base64_is_refused(text: str) -> None:
    assert refusal(PICTURES, {"image": text}).field == "input.image"
    assert "row 2 of 3" in refusal(PICTURES, {"image": [IMAGE, text, IMAGE]}).detail


def test_all_inputs_have_the_same_number_of_rows() -> None:
    pair = signature(a=("tensor", "float32", (1,)), b=("text", "string", ()))
    assert rows(pair, a=[1], b="x") == 1
    assert rows(pair, a=[[1], [2]], b=["x", "y"]) == 2
    assert refusal(pair, {"a": [[1], [2]], "b": ["x"]}).field == "input.b"
    assert refusal(pair, {"a": [1], "b": ["x", "y"]}).field == "input.b"


def test_more_rows_than_a_job_may_have_are_too_large() -> None:
    few = Settings(inference=InferenceSettings(max_job_rows=3))
    assert check_input(PICTURES, {"image": [IMAGE] * 3}, settings=few).rows == 3
    with pytest.raises(TooLarge, match="4 rows"):
        check_input(PICTURES, {"image": [IMAGE] * 4}, settings=few)


def test_options_are_read_and_checked() -> None:
    value = {"image": IMAGE, "top_k": 2, "threshold": 0.5, "priority": "high"}
    assert check_input(PICTURES, value, settings=SETTINGS) == CheckedInput(1, "high", 2, 0.5)
    assert check_input(PICTURES, {"image": IMAGE, "top_k": None}, settings=SETTINGS) == CheckedInput(1)
    for name, bad in (
        ("top_k", [0, -1, 1.0, True, "2", []]),
        ("threshold", [-0.1, 1.1, "0.5", True, math.nan]),
        ("priority", ["urgent", 1, ["high"]]),
    ):
        for option in bad:
            assert refusal(PICTURES, {"image": IMAGE, name: option}).field == f"input.{name}"


def test_options_of_classifiers_are_refused_by_other_models() -> None:
    for name in ("top_k", "threshold"):
        assert refusal(numbers("float32"), {"x": 1, name: 1}).field == f"input.{name}"
    assert check_input(numbers("float32"), {"x": 1, "priority": "low"}, settings=SETTINGS).priority == "low"


def test_a_client_object_sent_by_mistake_is_refused_and_never_repeated() -> None:
    token = "r8_secret"
    leaked = {"auth": token, "baseUrl": "http://host/v1", "fileEncodingStrategy": "data-uri", "userAgent": "x"}
    error = refusal(PICTURES, leaked)
    assert error.field == "input"
    assert token not in error.detail + json.dumps(error.facts)


def test_no_refusal_repeats_a_value() -> None:
    secret = "sk-very-secret"
    of = signature(classifier=True, image=("image", "uint8", (1, 1, 3)), x=("tensor", "float32", (2,)))
    fine = {"image": IMAGE, "x": [1, 2]}
    for name in ("image", "x", "top_k", "threshold", "priority", "other"):
        for value in (secret, [secret], {secret: secret}, [1, secret]):
            error = refusal(of, {**fine, name: value})
            assert secret not in error.detail + json.dumps(error.facts)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("012a"), inner, max_size=3),
        max_leaves=12,
    )
)
@profile(max_examples=200, derandomize=True, deadline=None, database=None)
def test_any_value_is_either_read_or_refused_and_what_is_read_fits(value: Any) -> None:
    for spec in (
        TensorSpec("x", TensorKind.TENSOR, "float32", (None,)),
        TensorSpec("x", TensorKind.TENSOR, "int32", (2, None)),
        TensorSpec("x", TensorKind.IMAGE, "uint8", (None, None, 3)),
        TensorSpec("x", TensorKind.TEXT, "string", ()),
    ):
        try:
            count = check_input(Signature((spec,), ()), {"x": value}, settings=SETTINGS).rows
        except InvalidInput:
            continue
        found, _ = rows_of(spec, value)
        assert len(found) == count >= 1
        if not isinstance(found[0], str):
            for row in found:
                leaves, shape = flat_rows(spec, [row])
                assert len(leaves) == math.prod(shape)


def test_schemas_are_laid_out_as_clients_expect_and_hold_what_is_accepted() -> None:
    schema = input_schema(PICTURES)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["image"] == {
        "title": "Image",
        "type": "string",
        "format": "uri",
        "description": schema["properties"]["image"]["description"],
        "x-order": 0,
    }
    assert [field["x-order"] for field in schema["properties"].values()] == [0, 1, 2, 3]
    assert list(schema["properties"]) == ["image", "top_k", "threshold", "priority"]
    assert schema["properties"]["priority"]["default"] == "normal"
    assert schema["required"] == ["image"]
    jsonschema.validate({"image": IMAGE, "top_k": 3, "threshold": 0.5, "priority": "low"}, schema)
    mixed = input_schema(
        signature(a=("tensor", "int8", (2, None)), b=("text", "string", (1,)), c=("tensor", "bool", ()))
    )
    jsonschema.validate({"a": [[1], [-128]], "b": "text", "c": True}, mixed)
    for bad in ({"a": [[1], [-129]]}, {"b": 1}, {"c": 1}, {"d": 1}, {"top_k": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"a": [[1], [1]], "b": "text", "c": True, **bad}, mixed)


def test_the_output_schema_fits_the_answers() -> None:
    labels = ("a", "b", "c")
    schema = output_schema(PICTURES, labels)
    answer = {"label": "b", "score": 0.5, "scores": [{"label": "b", "score": 0.5}]}
    jsonschema.validate(answer, schema)
    plain = output_schema(numbers("float32"), None)
    jsonschema.validate([0.1, 0.2, 0.3], plain)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([0.1], plain)
    several = Signature(PICTURES.inputs, (PICTURES.outputs[0], TensorSpec("words", TensorKind.TEXT, "string", ())))
    jsonschema.validate({"output": [1, 2, 3], "words": "x"}, output_schema(several, labels))


def test_the_output_of_a_version_that_iterates_is_marked_as_an_iterator_of_rows() -> None:
    labels = ("a", "b", "c")
    for one, names in ((PICTURES, None), (numbers("float32"), labels), (PICTURES, labels)):
        row, whole = output_schema(one, names), output_schema(replace(one, iterates=True), names)
        assert whole["items"] == {name: value for name, value in row.items() if name != "title"}
        assert {name: value for name, value in whole.items() if name != "items"} == {
            "title": "Output",
            "type": "array",
            "x-cog-array-type": "iterator",
        }
    jsonschema.validate([], whole)
    jsonschema.validate([{"label": "b", "score": 0.5, "scores": []}] * 2, whole)
    plain = output_schema(Signature((), (TensorSpec("text", TensorKind.TEXT, "string", ()),), iterates=True), None)
    assert plain["items"] == {"type": "string"} and "x-cog-array-display" not in plain


def test_the_module_needs_neither_numpy_nor_pillow() -> None:
    code = "import sys, shared.tensors; print([m for m in ('numpy', 'PIL', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
