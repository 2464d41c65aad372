import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.samples import sample_inputs
from shared.datasets.dataset import Dataset
from shared.models.recipes import IMAGE_CLASSIFIER
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import Settings
from shared.tensors import check_input

VENDORED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
MANY = Signature(
    inputs=(
        TensorSpec("photo", TensorKind.IMAGE, "uint8", (None, 48, 1)),
        TensorSpec("it's", TensorKind.TEXT, "string", ()),
        TensorSpec("wide", TensorKind.TENSOR, "float32", (8, 30)),
        TensorSpec("flags", TensorKind.TENSOR, "bool", (2,)),
        TensorSpec("count", TensorKind.TENSOR, "int64", ()),
    ),
    outputs=(TensorSpec("y", TensorKind.TENSOR, "float32", (1,)), TensorSpec("z", TensorKind.TENSOR, "float32", (2,))),
)


def test_the_pages_ask_no_other_host_and_allow_none(anonymous: FlaskClient) -> None:
    for path in ("/docs", "/docs/models/ada/digits"):
        page = anonymous.get(path)
        assert page.status_code == 200 and page.mimetype == "text/html"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "http" not in policy
        assert "unsafe" not in policy
        links = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
        assert links and not [link for link in links if "//" in link]
        for link in links:
            if not link.startswith("data:"):
                with anonymous.get(link) as part:
                    assert part.status_code == 200, link


def test_the_page_of_a_model_says_nothing_of_models_without_a_key(
    anonymous: FlaskClient, version: ModelVersion
) -> None:
    there, nowhere = anonymous.get("/docs/models/ada/digits"), anonymous.get("/docs/models/ada/nowhere")
    assert there.text.replace("digits", "nowhere") == nowhere.text
    assert anonymous.get("/v1/models/ada/digits/openapi.json").status_code == 401
    assert anonymous.get("/docs/models/ada/%3Cscript%3E").status_code == 404
    assert anonymous.get("/docs/assets/page.html").status_code == 404
    assert anonymous.get("/docs/assets/..%2Froutes%2Fdocs.py").status_code == 404


@pytest.mark.parametrize(("asset", "digest"), VENDORED.items())
def test_the_renderer_is_the_one_that_was_released(asset: str, digest: str) -> None:
    folder = Path(__file__).parents[2] / "api" / "docs_assets" / "swagger-ui"
    assert hashlib.sha256((folder / asset).read_bytes()).hexdigest() == digest
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_each_model_has_a_document_with_its_own_schema(client: FlaskClient, version: ModelVersion) -> None:
    shown = client.get("/v1/models/ada/digits/openapi.json").json
    assert shown is not None
    OpenAPIV31SpecValidator(shown).validate()
    assert shown["info"] == {"title": "ada/digits", "version": version.id}
    schemas = shown["components"]["schemas"]
    assert list(schemas["Input"]["properties"])[0] == "image"
    assert schemas["Output"]["properties"]["label"]["type"] == ["string", "null"]
    operation = shown["paths"]["/v1/models/ada/digits/predictions"]["post"]
    assert [sample["label"] for sample in operation["x-codeSamples"]] == ["curl", "Python", "JavaScript"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/v1/models/ada/digits/predictions", json=example).status_code == 201
    assert operation["responses"]["201"]["links"].keys() == {"get_prediction", "cancel_prediction"}
    one = client.get(f"/v1/models/ada/digits/versions/{version.id}/openapi.json").json
    assert one is not None
    OpenAPIV31SpecValidator(one).validate()
    assert version.id in one["paths"]["/v1/predictions"]["post"]["x-codeSamples"][1]["source"]


def test_a_recipe_has_a_document_with_the_form_of_its_trainings(client: FlaskClient, dataset: Dataset) -> None:
    shown = client.get(f"/v1/models/{IMAGE_CLASSIFIER.model}/openapi.json").json
    assert shown is not None
    OpenAPIV31SpecValidator(shown).validate()
    assert "dataset" in shown["components"]["schemas"]["TrainingInput"]["required"]
    same = client.get(f"/v1/models/{IMAGE_CLASSIFIER.model}/versions/{IMAGE_CLASSIFIER.version_id}/openapi.json")
    assert same.json == shown
    assert client.get(f"/v1/models/{IMAGE_CLASSIFIER.model}/versions/{'0' * 64}/openapi.json").status_code == 404


def test_the_samples_of_every_kind_are_taken_and_their_expressions_make_them(settings: Settings) -> None:
    samples = sample_inputs(MANY)
    assert check_input(MANY, {name: sample.value for name, sample in samples.items()}, settings=settings).rows == 1
    assert not samples["wide"].is_printed
    for sample in samples.values():
        assert eval(sample.python) == sample.value


def test_no_snippet_breaks_out_of_its_quotes(
    client: FlaskClient, publish: Callable[..., ModelVersion], registry: ModelRegistry
) -> None:
    made = publish(MANY, name="many")
    registry.move_alias("ada", "many", "production", made.id, "ada")
    shown = client.get("/v1/models/ada/many/openapi.json").json
    assert shown is not None
    OpenAPIV31SpecValidator(shown).validate()
    curl = shown["paths"]["/v1/models/ada/many/predictions"]["post"]["x-codeSamples"][0]["source"]
    assert "it'\\''s" in curl and "'it's" not in curl
