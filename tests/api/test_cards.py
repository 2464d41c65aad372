import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PATH = "/v1/models/ada/digits"


def names(reply: Any) -> list[str]:
    assert reply.status_code == 200, reply.data
    return [model["name"] for model in reply.json["results"]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"digits", "text/plain"),
        (b'"digits"', "text/plain"),
        (b'"digits"', "application/json"),
        (b"digits", "application/json"),
        (b" DIGITS\n", None),
        (b"ada/digits", "text/plain"),
        ("hand geschriebene Ziffern für".encode(), "text/plain"),
        (json.dumps("Ziffern für").encode(), "application/json"),
    ],
)
def test_a_search_takes_its_text_as_every_client_sends_it(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], body: bytes, kind: str | None
) -> None:
    publish(name="others")
    client.patch(PATH, json={"description": "Für von Hand geschriebene Ziffern"})
    assert names(client.open("/v1/models", method="QUERY", data=body, content_type=kind)) == ["digits"]


def test_the_best_matches_come_first_and_the_next_page_is_a_get(
    client: FlaskClient, publish: Callable[..., ModelVersion]
) -> None:
    for name in ("cat", "cats", "birds"):
        publish(name=name)
    client.patch("/v1/models/ada/birds", json={"description": "eaten by cat & dog"})
    first = client.open("/v1/models?limit=2", method="QUERY", data="cat", content_type="text/plain")
    assert names(first) == ["cat", "cats"] and first.json is not None
    assert first.json["next"].startswith("http://localhost/v1/models?")
    second = client.get(first.json["next"])
    assert names(second) == ["birds"] and second.json is not None and second.json["next"] is None
    assert names(client.get(second.json["previous"])) == ["cat", "cats"]
    assert names(client.get("/v1/models?query=cat %26")) == ["birds"]
    assert names(client.open("/v1/models", method="QUERY", data="cat dragon")) == []
    assert len(names(client.open("/v1/models", method="QUERY", data=""))) == 4


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b'{"query": "x"}', b"x" * 1001])
def test_what_is_no_text_to_look_for_is_422(client: FlaskClient, body: bytes) -> None:
    reply = client.open("/v1/models", method="QUERY", data=body, content_type="application/json")
    assert reply.status_code == 422


def test_a_search_over_everything_says_how_well_each_model_fits(client: FlaskClient, version: ModelVersion) -> None:
    found = client.get("/v1/search?query=image&limit=5").json
    assert found is not None
    assert (found["query"], found["pages"], found["collections"]) == ("image", [], [])
    assert [(hit["model"]["name"], hit["metadata"]["score"]) for hit in found["models"]] == [("image-classifier", 0.8)]
    exact = client.get("/v1/search?query=ada/digits").json
    assert exact is not None and exact["models"][0]["metadata"] == {"score": 1.0}
    assert exact["models"][0]["model"]["latest_version"]["id"] == version.id
    recipes = client.get("/v1/search?query=recipes").json
    assert recipes is not None and recipes["collections"][0]["models"] == ["headrace/image-classifier"]
    for query in ("", "?query=", "?query=%20", "?query=x&limit=0", "?query=" + "x" * 1001, "?q=x"):
        assert client.get(f"/v1/search{query}").status_code == 422, query


def test_the_one_collection_is_what_comes_with_the_service(client: FlaskClient, version: ModelVersion) -> None:
    listed = client.get("/v1/collections").json
    assert listed is not None and listed["next"] is None and listed["previous"] is None
    [entry] = listed["results"]
    shown = client.get(f"/v1/collections/{entry['slug']}").json
    assert shown is not None
    assert {key: shown[key] for key in entry} == entry and set(entry) == {"slug", "name", "description"}
    assert [(model["owner"], model["name"]) for model in shown["models"]] == [("headrace", "image-classifier")]
    assert client.get("/v1/collections/none").status_code == 404


def test_a_change_touches_what_it_names_and_nothing_else(client: FlaskClient, version: ModelVersion) -> None:
    links = {f"{what}_url": f"https://example.org/{what}" for what in ("github", "paper", "license", "weights")}
    first = client.patch(PATH, json={"description": "Digits", **links})
    assert first.status_code == 200 and first.json is not None
    assert {key: first.json[key] for key in links} == links
    assert (first.json["latest_version"]["id"], first.json["visibility"]) == (version.id, "private")
    client.patch(PATH, json={"paper_url": "", "github_url": None})
    model = client.get(PATH).json
    assert model is not None
    assert (model["description"], model["paper_url"], model["github_url"]) == ("Digits", None, None)
    assert model["license_url"] == links["license_url"]
    assert client.patch(PATH, json={}).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"owner": "bob"}, {"description": 3}, {"paper_url": "javascript:x"}, {"readme": "x" * 100_001}, {"visibility": 1}],
)
def test_a_change_that_cannot_be_is_422(client: FlaskClient, version: ModelVersion, changes: dict[str, Any]) -> None:
    assert client.patch(PATH, json=changes).status_code == 422


def test_only_a_key_that_may_write_models_changes_one_that_exists(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str], version: ModelVersion
) -> None:
    assert client_of(make_key(scopes=("read",))).patch(PATH, json={"readme": "x"}).status_code == 403
    assert client.patch("/v1/models/ada/none", json={"readme": "x"}).status_code == 404
    assert client.patch("/v1/models/headrace/image-classifier", json={"readme": "x"}).status_code == 403


def test_a_readme_is_kept_with_its_model_and_read_as_plain_text(
    client: FlaskClient, version: ModelVersion, registry: ModelRegistry
) -> None:
    empty = client.get(f"{PATH}/readme")
    assert (empty.status_code, empty.data) == (200, b"")
    client.patch(PATH, json={"readme": "# Digits\n\nfür <b>alle</b>"})
    reply = client.get(f"{PATH}/readme")
    assert reply.content_type == "text/plain; charset=utf-8"
    assert reply.data.decode() == "# Digits\n\nfür <b>alle</b>"
    registry.delete_model("ada", "digits")
    registry.create_model("ada", "digits")
    assert client.get(f"{PATH}/readme").data == b""
    assert b"image-classifier" in client.get("/v1/models/headrace/image-classifier/readme").data
    assert client.get("/v1/models/ada/none/readme").status_code == 404


def test_an_example_is_a_copy_of_a_prediction_that_succeeded(
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    version: ModelVersion,
    finish: Callable[..., int],
) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}}
    made = client.post("/v1/predictions", json=body).json
    assert made is not None
    pin = {"default_example": made["id"]}
    assert client.patch(PATH, json=pin).status_code == 422
    finish(version.id)
    assert client_of(make_key("bob")).patch(PATH, json=pin).status_code == 422
    model = client.patch(PATH, json=pin).json
    assert model is not None
    example = model["default_example"]
    assert (example["id"], example["status"], example["output"]) == (made["id"], "succeeded", {"label": "one"})
    assert example["input"] == body["input"] and example["version"] == version.id
    assert example["urls"]["get"] == f"http://localhost/v1/predictions/{made['id']}"
    assert set(example["urls"]) == {"get", "cancel", "web"}
    client.delete(f"/v1/predictions/{made['id']}")
    other = client_of(make_key("bob"))
    listed = other.get(f"{PATH}/examples").json
    assert listed is not None and listed["results"] == [example] and listed["next"] is None
    assert other.get(PATH).json["default_example"] == example  # type: ignore[index]
    client.patch(PATH, json={"default_example": None})
    assert client.get(f"{PATH}/examples").json == {"previous": None, "next": None, "results": []}
    assert client.get("/v1/models/headrace/image-classifier/examples").json["results"] == []  # type: ignore[index]
    assert client.get("/v1/models/ada/none/examples").status_code == 404


def test_a_model_counts_what_was_made_with_it(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion]
) -> None:
    publish(name="others")
    body = {"version": version.id, "input": {"image": PIXEL}}
    for _ in range(3):
        client.post("/v1/predictions", json=body)
    client.post("/v1/predictions", json=body, headers={"Idempotency-Key": "once"})
    job = client.post("/v1/predictions", json=body, headers={"Idempotency-Key": "once"}).json
    assert job is not None
    client.delete(f"/v1/predictions/{job['id']}")
    counts = {model["name"]: model["run_count"] for model in client.get("/v1/models").json["results"]}  # type: ignore[index]
    assert counts == {"digits": 4, "others": 0, "image-classifier": 0}
    assert client.get(PATH).json["run_count"] == 4  # type: ignore[index]
