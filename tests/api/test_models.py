import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion
from shared.settings import Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ALIAS = "/v1/models/ada/digits/aliases/production"


def test_a_model_is_made_read_listed_and_deleted(client: FlaskClient) -> None:
    body = {"owner": "ada", "name": "cats", "visibility": "private", "hardware": "cpu", "description": "Cats."}
    made = client.post("/v1/models", json=body)
    assert made.status_code == 201
    model = client.get("/v1/models/ada/cats").json
    assert model is not None and model == made.json
    assert made.headers["Location"] == model["url"] == "http://localhost/v1/models/ada/cats"
    assert (model["description"], model["visibility"], model["latest_version"]) == ("Cats.", "private", None)
    assert isinstance(model["run_count"], int)
    listed = client.get("/v1/models").json
    assert listed is not None
    assert {entry["name"] for entry in listed["results"]} == {"cats", "image-classifier"}
    assert client.post("/v1/models", json=body).status_code == 409
    assert client.delete("/v1/models/ada/cats").status_code == 204
    assert client.get("/v1/models/ada/cats").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"owner": "ada"}, 422),
        ({"owner": "Ada", "name": "cats"}, 422),
        ({"owner": "ada", "name": "a/b"}, 422),
        ({"owner": "ada", "name": "cats", "visibility": "secret"}, 422),
        ({"owner": "ada", "name": "cats", "colour": "red"}, 422),
        ({"owner": "ada", "name": "cats", "description": 3}, 422),
        ({"owner": "headrace", "name": "cats"}, 403),
    ],
)
def test_a_model_that_cannot_be_is_refused(client: FlaskClient, body: dict[str, Any], status: int) -> None:
    assert client.post("/v1/models", json=body).status_code == status


def test_a_version_shows_what_clients_need_and_what_its_manifest_says(
    client: FlaskClient, version: ModelVersion
) -> None:
    shown = client.get(f"/v1/models/ada/digits/versions/{version.id}").json
    assert shown is not None
    assert isinstance(shown["cog_version"], str)
    schemas = shown["openapi_schema"]["components"]["schemas"]
    assert schemas["Input"]["properties"]["image"]["format"] == "uri"
    assert "zero" in json.dumps(schemas["Output"])
    assert (shown["model"], shown["labels"], shown["source"]) == ("ada/digits", ["zero", "one"], "import")
    assert shown["signature"]["inputs"][0]["name"] == "image"
    assert shown["unloadable"] is None
    model = client.get("/v1/models/ada/digits").json
    assert model is not None
    assert model["latest_version"]["id"] == version.id
    assert model["aliases"] == {"production": version.id}


def test_versions_are_listed_newest_first_over_pages(client: FlaskClient, publish: Callable[..., ModelVersion]) -> None:
    made = [publish(created_at=f"2026-01-0{day}T00:00:00.000Z").id for day in (1, 2, 3)]
    first = client.get("/v1/models/ada/digits/versions?limit=2").json
    assert first is not None
    second = client.get(first["next"]).json
    assert second is not None and second["next"] is None
    assert [version["id"] for version in first["results"] + second["results"]] == made[::-1]
    back = client.get(second["previous"]).json
    assert back is not None and [version["id"] for version in back["results"]] == made[:0:-1]


def test_models_are_sorted_as_asked(client: FlaskClient, publish: Callable[..., ModelVersion]) -> None:
    publish(name="first", created_at="2027-01-01T00:00:00.000Z")
    publish(name="second", created_at="2026-06-01T00:00:00.000Z")

    def names(query: str) -> list[str]:
        page = client.get(f"/v1/models?{query}").json
        assert page is not None
        return [model["name"] for model in page["results"] if model["owner"] == "ada"]

    assert names("") == ["first", "second"] == names("sort_by=latest_version_created_at&sort_direction=desc")
    assert names("sort_by=model_created_at") == ["second", "first"]
    assert names("sort_by=model_created_at&sort_direction=asc") == ["first", "second"]
    assert client.get("/v1/models?sort_by=name").status_code == 422


def test_the_recipe_is_a_model_with_a_training_schema_that_nobody_changes(client: FlaskClient) -> None:
    path = "/v1/models/headrace/image-classifier"
    versions = client.get(f"{path}/versions").json
    assert versions is not None
    version = versions["results"][0]
    schema = version["openapi_schema"]["components"]["schemas"]["TrainingInput"]
    assert "dataset" in schema["required"]
    made = version["openapi_schema"]["components"]["schemas"]["TrainingOutput"]
    assert (made["title"], made["type"], made["required"]) == ("TrainingOutput", "object", ["version"])
    assert {name: form["type"] for name, form in made["properties"].items()} == {
        "version": "string", "weights": "string", "metrics": "object",
    }  # fmt: skip
    assert client.get(f"{path}/versions/{version['id']}").json == version
    assert client.delete(path).status_code == 403
    assert client.delete(f"{path}/versions/{version['id']}").status_code == 403
    assert client.put(f"{path}/aliases/production", json={"version": version["id"]}).status_code == 403


def test_a_promotion_without_workers_flips_at_once_and_can_be_rolled_back(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion]
) -> None:
    better = publish(content=b"better")
    reply = client.put(ALIAS, json={"version": better.id, "reason": "better"})
    assert reply.status_code == 200
    state = reply.json
    assert state is not None
    assert (state["version"], state["by"], state["reason"], state["pending"]) == (better.id, "ada/test", "better", None)
    assert [move["version"] for move in state["history"]] == [better.id, version.id]
    job = client.post("/v1/models/ada/digits/predictions", json={"input": {"image": PIXEL}}).json
    assert job is not None and job["version"] == better.id
    back = client.post(f"{ALIAS}/rollback")
    assert back.status_code == 200 and back.json is not None and back.json["version"] == version.id
    listed = client.get("/v1/models/ada/digits/aliases").json
    assert listed is not None
    assert [(alias["alias"], alias["version"]) for alias in listed["results"]] == [("production", version.id)]


def test_a_promotion_waits_for_living_workers_and_says_for_whom(
    client: FlaskClient,
    version: ModelVersion,
    publish: Callable[..., ModelVersion],
    redis: Redis,
    settings: Settings,
    registry: ModelRegistry,
) -> None:
    better = publish(content=b"better")
    Heartbeats(redis, settings).beat(WorkerInfo("w1", "inference", "cpu", "host", 1, (version.id,)))
    reply = client.put(ALIAS, json={"version": better.id})
    assert reply.status_code == 202
    state = client.get(ALIAS).json
    assert state is not None
    assert state["version"] == version.id
    assert (state["pending"]["version"], state["pending"]["missing"]) == (better.id, ["w1"])
    bells = client.application.extensions["headrace"].queue.bells
    Promotions(registry, redis, settings, bells).ready("w1", better.id)
    state = client.get(ALIAS).json
    assert state is not None
    assert (state["version"], state["pending"]) == (better.id, None)


def test_an_alias_moves_to_versions_of_its_model_only(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion]
) -> None:
    other = publish(name="others")
    assert client.put(ALIAS, json={"version": other.id}).status_code == 422
    assert client.put(ALIAS, json={"version": "0" * 64}).status_code == 422
    assert client.put(ALIAS, json={}).status_code == 422
    assert client.put(ALIAS, json={"version": version.id, "force": True}).status_code == 422
    assert client.put(ALIAS, json={"version": version.id, "reason": 7}).status_code == 422
    assert client.put("/v1/models/ada/none/aliases/production", json={"version": version.id}).status_code == 404
    assert client.put("/v1/models/ada/digits/aliases/No", json={"version": version.id}).status_code == 422
    assert client.get("/v1/models/ada/digits/aliases/none").status_code == 404
    assert client.post("/v1/models/ada/digits/aliases/production/rollback").status_code == 409


def test_an_aliased_version_is_not_deleted_and_a_deleted_ones_jobs_fail_at_once(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion]
) -> None:
    spare = publish(content=b"spare")
    job = client.post("/v1/predictions", json={"version": spare.id, "input": {"image": PIXEL}}).json
    assert job is not None
    assert client.delete(f"/v1/models/ada/digits/versions/{version.id}").status_code == 409
    assert client.delete(f"/v1/models/ada/digits/versions/{spare.id}").status_code == 204
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None
    assert (seen["status"], seen["error_code"]) == ("failed", "E1202")
    assert client.get(f"/v1/models/ada/digits/versions/{spare.id}").status_code == 404
    assert client.post("/v1/predictions", json={"version": spare.id, "input": {"image": PIXEL}}).status_code == 422


@pytest.mark.parametrize("whole_model", [False, True])
def test_a_deleted_versions_jobs_fail_at_once_also_while_their_input_is_still_to_be_fetched(
    client: FlaskClient, redis: Redis, publish: Callable[..., ModelVersion], whole_model: bool
) -> None:
    spare = publish(content=b"spare")
    body = {"version": spare.id, "input": {"image": "https://example.org/cat.png"}}
    job = client.post("/v1/predictions", json=body).json
    assert job is not None and redis.zcard("headrace:{a}:outgoing:fetch@example.org:443") == 1
    path = "/v1/models/ada/digits" if whole_model else f"/v1/models/ada/digits/versions/{spare.id}"
    assert client.delete(path).status_code == 204
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None
    assert (seen["status"], seen["error_code"]) == ("failed", "E1202")
    assert redis.zcard("headrace:{a}:outgoing:fetch@example.org:443") == 0


def test_a_model_that_serves_is_deleted_only_by_force(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], registry: ModelRegistry
) -> None:
    path = "/v1/models/ada/digits"
    registry.move_alias("ada", "digits", "candidate", publish(content=b"spare").id, "ada")
    for query in ("", "?force=false"):
        reply = client.delete(path + query)
        assert reply.status_code == 409
        assert reply.json is not None
        assert "ada/digits serves as candidate and production; ?force=true" in reply.json["detail"]
        assert client.get(path).status_code == 200
    assert client.delete(path + "?force=true").status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_a_model_whose_versions_have_no_alias_is_deleted_without_force(
    client: FlaskClient, publish: Callable[..., ModelVersion]
) -> None:
    publish(name="spare")
    assert client.delete("/v1/models/ada/spare").status_code == 204
