from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.datasets.dataset import Dataset, Report
from shared.datasets.store import DatasetStore
from shared.models.registry import ModelRegistry
from shared.settings import Settings


@pytest.fixture
def path(client: FlaskClient) -> str:
    recipe = client.get("/v1/models/headrace/image-classifier").json
    assert recipe is not None
    return f"/v1/models/headrace/image-classifier/versions/{recipe['latest_version']['id']}/trainings"


def _body(**facts: Any) -> dict[str, Any]:
    return {"destination": "ada/cats", "input": {"dataset": "digits", "epochs": 2}, **facts}


def test_a_training_is_made_with_its_destination(client: FlaskClient, dataset: Dataset, path: str) -> None:
    reply = client.post(path, json=_body())
    assert reply.status_code == 201
    job = reply.json
    assert job is not None
    assert (job["kind"], job["status"], job["output"]) == ("training", "starting", None)
    assert (job["model"], job["destination"]) == ("headrace/image-classifier", "ada/cats")
    assert job["details"]["dataset"] == dataset.digest
    assert reply.headers["Location"] == f"http://localhost/v1/trainings/{job['id']}" == job["urls"]["get"]
    listed = client.get("/v1/trainings").json
    assert listed is not None and [entry["id"] for entry in listed["results"]] == [job["id"]]
    canceled = client.post(f"/v1/trainings/{job['id']}/cancel").json
    assert canceled is not None and canceled["status"] == "canceled"
    assert client.get("/v1/models/ada/cats").status_code == 404  # a worker makes it, with its first version


@pytest.mark.parametrize("word", ["latest", "None"])
def test_a_training_without_a_version_takes_the_latest(
    client: FlaskClient, dataset: Dataset, path: str, word: str
) -> None:
    assert (
        client.post(f"/v1/models/headrace/image-classifier/versions/{word}/trainings", json=_body()).status_code == 201
    )


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"destination": None}, "destination"),
        ({"destination": "cats"}, "destination"),
        ({"destination": "Ada/Cats"}, "destination"),
        ({"destination": ["ada", "cats"]}, "destination"),
        ({"input": {"dataset": "none"}}, "input.dataset"),
        ({"input": {"dataset": "digits", "epochs": 0}}, "input.epochs"),
        ({"input": {"dataset": "digits", "layers": 3}}, "input.layers"),
        ({"input": {}}, "input.dataset"),
        ({"input": None}, "input"),
        ({"webhook": "ftp://example.org"}, "webhook"),
        ({"name": "x"}, "name"),
    ],
)
def test_what_does_not_fit_is_422_and_makes_no_model(
    client: FlaskClient, dataset: Dataset, path: str, facts: dict[str, Any], field: str
) -> None:
    reply = client.post(path, json=_body(**facts))
    assert reply.status_code == 422
    assert reply.json is not None and reply.json["invalid_fields"][0]["field"] == field
    assert client.get("/v1/models/ada/cats").status_code == 404


def test_an_unknown_recipe_version_or_model_is_refused(client: FlaskClient, dataset: Dataset, path: str) -> None:
    unknown = path.replace(path.split("/")[-2], "0" * 64)
    assert client.post(unknown, json=_body()).status_code == 422
    assert client.post(path.replace("headrace", "ada"), json=_body()).status_code == 404
    assert client.post(path, json=_body(destination="headrace/cats")).status_code == 403


def test_a_model_that_is_no_recipe_cannot_be_trained(client: FlaskClient, dataset: Dataset, version: Any) -> None:
    reply = client.post(f"/v1/models/ada/digits/versions/{version.id}/trainings", json=_body())
    assert reply.status_code == 422


def test_a_destination_is_made_only_by_a_key_that_may_make_models(
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    dataset: Dataset,
    path: str,
    registry: ModelRegistry,
) -> None:
    trainer = client_of(make_key(scopes=("trainings:write",)))
    assert trainer.post(path, json=_body()).status_code == 403
    assert client.post(path, json=_body()).status_code == 201
    registry.create_model("ada", "cats")
    assert trainer.post(path, json=_body()).status_code == 201


def test_the_version_that_came_of_a_training_is_named_as_clients_want_it(
    client: FlaskClient, dataset: Dataset, path: str, finish: Callable[..., int]
) -> None:
    job = client.post(path, json=_body()).json
    assert job is not None
    output = b'{"version": "ada/cats:%s", "weights": "", "metrics": {}}' % (b"e" * 64)
    assert finish("training", output, "train.cpu") == 1
    seen = client.get(f"/v1/trainings/{job['id']}").json
    assert seen is not None
    assert seen["output"]["version"] == f"ada/cats:{'e' * 64}"
    assert seen["output"]["weights"] == f"http://localhost/v1/models/ada/cats/versions/{'e' * 64}"


def test_a_data_set_is_shown_and_deleted(client: FlaskClient, dataset: Dataset) -> None:
    for name in ("digits", dataset.digest):
        shown = client.get(f"/v1/datasets/{name}").json
        assert shown is not None
        assert (shown["name"], shown["digest"], shown["splits"]["train"]) == ("digits", dataset.digest, 2)
    listed = client.get("/v1/datasets").json
    assert listed is not None and len(listed["results"]) == 1
    assert client.delete("/v1/datasets/digits").status_code == 204
    assert client.get("/v1/datasets/digits").status_code == 404


def test_a_data_set_is_listed_once_for_each_name_with_the_report_of_that_push(
    client: FlaskClient, dataset: Dataset, artifacts: ArtifactStore, redis: Redis, settings: Settings
) -> None:
    report = Report((("a.txt", "no image"),), 1)
    DatasetStore(artifacts, redis, settings).name("numbers", dataset.digest, "b" * 26, report)
    listed: list[dict[str, Any]] = []
    url = "/v1/datasets?limit=1"
    while url:
        page = client.get(url).json
        assert page is not None and len(page["results"]) == 1
        listed, url = listed + page["results"], page["next"]
    assert [(one["name"], one["names"], one["unreadable_count"]) for one in listed] == [
        ("numbers", ["digits", "numbers"], 1),
        ("digits", ["digits", "numbers"], 0),
    ]
    assert client.get("/v1/datasets/numbers").json == listed[0]
