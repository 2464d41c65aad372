from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.jobs.new_job import queue_of
from shared.jobs.queue import JobQueue
from shared.models.registry import ModelRegistry
from shared.models.version import ModelVersion
from shared.settings import Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="
INPUT = {"input": {"image": PIXEL}}
PATH = "/v1/deployments/ada/canary"

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def gpu(redis: Redis, settings: Settings) -> Heartbeats:
    """A living inference worker of the pool gpu, which holds nothing."""
    heartbeats = Heartbeats(redis, settings)
    heartbeats.beat(WorkerInfo("g1", "inference", "gpu", "host", 1, ()))
    return heartbeats


@pytest.fixture
def deploy(client: FlaskClient) -> Make:
    def make(version: ModelVersion, **changes: Any) -> dict[str, Any]:
        body = {"name": "canary", "model": "ada/digits", "version": version.id, "hardware": "cpu", **changes}
        reply = client.post("/v1/deployments", json={**body, "min_instances": 0, "max_instances": 2})
        assert reply.status_code == 201, reply.data
        made: dict[str, Any] = reply.json or {}
        assert reply.headers["Location"] == f"http://localhost/v1/deployments/ada/{made['name']}"
        return made

    return make


def test_a_deployment_serves_an_alias_in_its_pool(
    client: FlaskClient,
    version: ModelVersion,
    publish: Callable[..., ModelVersion],
    deploy: Make,
    gpu: Heartbeats,
    queue: JobQueue,
    registry: ModelRegistry,
) -> None:
    candidate = publish(content=b"candidate")
    made = deploy(candidate, hardware="gpu")
    release = made["current_release"]
    assert (made["owner"], made["name"], release["number"]) == ("ada", "canary", 1)
    assert (release["model"], release["version"]) == ("ada/digits", candidate.id)
    assert release["configuration"] == {"hardware": "gpu", "min_instances": 0, "max_instances": 2}
    assert release["created_by"]["username"] == "ada" and release["created_at"].endswith("Z")
    assert registry.aliases("ada", "digits") == {"canary": candidate.id, "production": version.id}
    reply = client.post(f"{PATH}/predictions", json=INPUT)
    job = reply.json
    assert reply.status_code == 201 and job is not None
    assert (job["deployment"], job["model"], job["version"]) == ("ada/canary", "ada/digits", candidate.id)
    seen = client.get(f"/v1/predictions/{job['id']}").json
    assert seen is not None and seen["deployment"] == "ada/canary" and seen["details"] == {}
    line = queue_of(candidate.id, "predict.gpu")
    assert len(queue.take(line, "predict.gpu", max_rows=9, max_bytes=999, hard_seconds=9, solo=True).jobs) == 1


def test_a_new_version_serves_when_the_workers_of_its_pool_are_ready(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], deploy: Make, gpu: Heartbeats
) -> None:
    deploy(version, hardware="gpu")
    better = publish(content=b"better")
    changed = client.patch(PATH, json={"version": better.id, "max_instances": 3})
    assert changed.status_code == 200 and changed.json is not None
    release = changed.json["current_release"]
    assert (release["version"], release["number"]) == (version.id, 2)
    assert release["configuration"]["max_instances"] == 3
    state = client.get("/v1/models/ada/digits/aliases/canary").json
    assert state is not None and state["pending"]["missing"] == ["g1"]
    client.application.extensions["headrace"].promotions.ready("g1", better.id)
    after = client.get(PATH).json
    assert after is not None
    assert (after["current_release"]["version"], after["current_release"]["number"]) == (better.id, 3)
    job = client.post(f"{PATH}/predictions", json=INPUT).json
    assert job is not None and job["version"] == better.id


def test_a_promotion_of_its_alias_waits_for_its_pool_and_in_production_for_the_own_one_too(
    client: FlaskClient,
    version: ModelVersion,
    publish: Callable[..., ModelVersion],
    deploy: Make,
    gpu: Heartbeats,
) -> None:
    gpu.beat(WorkerInfo("c1", "inference", "cpu", "host", 2, ()))
    better = publish(content=b"better")
    for alias, missing in (("canary", ["g1"]), ("production", ["c1", "g1"]), ("other", ["c1"])):
        if alias != "other":
            deploy(version, name=alias, hardware="gpu")
        reply = client.put(f"/v1/models/ada/digits/aliases/{alias}", json={"version": better.id})
        assert reply.status_code == 202 and reply.json is not None
        assert reply.json["pending"]["missing"] == missing


def test_a_deleted_deployment_takes_its_alias_along_but_not_one_that_was_there(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], deploy: Make
) -> None:
    spare = publish(content=b"spare")
    deploy(spare)
    deploy(version, name="production")
    assert client.delete(f"/v1/models/ada/digits/versions/{spare.id}").status_code == 409
    assert client.delete(PATH).status_code == 204
    assert client.delete("/v1/deployments/ada/production").status_code == 204
    for method, path in (("get", PATH), ("delete", PATH), ("post", f"{PATH}/predictions")):
        assert getattr(client, method)(path, json=INPUT).status_code == 404
    assert client.get("/v1/models/ada/digits/aliases/canary").status_code == 404
    listed = client.get("/v1/models/ada/digits/aliases").json
    assert listed is not None and [alias["alias"] for alias in listed["results"]] == ["production"]
    assert client.delete(f"/v1/models/ada/digits/versions/{spare.id}").status_code == 204
    again = deploy(version)
    assert again["current_release"]["number"] == 3
    state = client.get("/v1/models/ada/digits/aliases/canary").json
    assert state is not None and [move["version"] for move in state["history"]] == [version.id, None, spare.id]
    assert client.post("/v1/models/ada/digits/aliases/canary/rollback").status_code == 409


def test_deployments_are_listed_over_pages_for_every_account(
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    version: ModelVersion,
    deploy: Make,
) -> None:
    for name in ("b", "a", "c"):
        deploy(version, name=name)
    first = client_of(make_key("bob")).get("/v1/deployments?limit=2").json
    assert first is not None
    second = client.get(first["next"]).json
    assert second is not None and second["next"] is None
    assert [one["name"] for one in first["results"] + second["results"]] == ["a", "b", "c"]


def test_two_deployments_of_one_name_do_not_move_one_alias(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str], version: ModelVersion,
    deploy: Make,
) -> None:  # fmt: skip
    deploy(version)
    body = {"name": "canary", "model": "ada/digits", "version": version.id, "hardware": "cpu"}
    for caller in (client, client_of(make_key("bob"))):
        reply = caller.post("/v1/deployments", json=body)
        assert reply.status_code == 409 and reply.json is not None
        assert "ada/canary" in reply.json["detail"]
        assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hardware": "tpu"}, "hardware"),
        ({"hardware": ""}, "hardware"),
        ({"version": "0" * 64}, None),
        ({"version": "ada/digits:canary"}, "version"),
        ({"model": "ada/others"}, "version"),
        ({"name": "No"}, "name"),
        ({"min_instances": 3, "max_instances": 2}, "min_instances"),
        ({"min_instances": -1}, "min_instances"),
        ({"max_instances": "2"}, "max_instances"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(
    client: FlaskClient, version: ModelVersion, changes: dict[str, Any], field: str | None
) -> None:
    body = {"name": "canary", "model": "ada/digits", "version": version.id, "hardware": "cpu", **changes}
    reply = client.post("/v1/deployments", json=body)
    assert reply.status_code == 422 and reply.json is not None
    assert field is None or reply.json["invalid_fields"][0]["field"] == field
    assert client.get(PATH).status_code == 404


def test_a_change_that_cannot_be_is_refused(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], deploy: Make
) -> None:
    other = publish(name="others")
    deploy(version)
    for changes in ({"version": other.id}, {"hardware": "tpu"}, {"min_instances": 9}, {"name": "x"}):
        assert client.patch(PATH, json=changes).status_code == 422, changes
    assert client.patch("/v1/deployments/ada/none", json={"max_instances": 9}).status_code == 404
    assert client.post(f"{PATH}/predictions", json={**INPUT, "version": version.id}).status_code == 422


def test_a_model_that_is_deleted_takes_its_deployments_along(
    client: FlaskClient, version: ModelVersion, deploy: Make
) -> None:
    deploy(version)
    assert client.delete("/v1/models/ada/digits").status_code == 409
    assert client.delete("/v1/models/ada/digits?force=true").status_code == 204
    assert client.get(PATH).status_code == 404


def test_deployments_need_the_scope_of_models(
    client_of: Callable[[str], FlaskClient], make_key: Callable[..., str], version: ModelVersion, deploy: Make
) -> None:
    deploy(version)
    reader = client_of(make_key(scopes=("read", "predictions:write")))
    body = {"name": "other", "model": "ada/digits", "version": version.id, "hardware": "cpu"}
    assert reader.post("/v1/deployments", json=body).status_code == 403
    assert reader.patch(PATH, json={"max_instances": 9}).status_code == 403
    assert reader.delete(PATH).status_code == 403
    assert reader.get(PATH).status_code == 200
    assert reader.post(f"{PATH}/predictions", json=INPUT).status_code == 201


def test_hardware_is_a_bare_list_of_the_pools_that_there_are(client: FlaskClient, gpu: Heartbeats) -> None:
    assert client.get("/v1/hardware").json == [
        {"sku": "cpu", "name": "cpu: no inference workers"},
        {"sku": "gpu", "name": "gpu: 1 inference worker"},
    ]
