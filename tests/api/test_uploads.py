import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.errors import TooManyRequests
from shared.settings import DatasetsSettings, Settings

VERSIONS = "/v1/models/ada/cats/versions"


def _push(client: FlaskClient, path: str, data: bytes = b"PK-model", headers: Any = None, **fields: Any) -> Any:
    form = {"file": (io.BytesIO(data), "../../evil.keras"), **fields}
    return client.post(path, data=form, headers=headers, content_type="multipart/form-data")


def test_a_model_file_becomes_an_import_job_with_its_upload_in_the_store(
    client: FlaskClient, artifacts: ArtifactStore, redis: Redis
) -> None:
    options = {"labels": '["cat", "dog"]', "scale": "1/255", "mean": "0.5,0.5,0.5", "std": "1,1,2"}
    reply = _push(client, VERSIONS, **options, iterator="true", alias="production")
    assert reply.status_code == 201
    job = reply.json
    assert (job["kind"], job["status"], job["model"]) == ("import", "starting", "ada/cats")
    assert reply.headers["Location"] == f"http://localhost/v1/jobs/{job['id']}"
    assert job["details"]["labels"] == ["cat", "dog"]
    assert job["details"]["scale"] == pytest.approx(1 / 255)
    assert (job["details"]["mean"], job["details"]["std"]) == ([0.5] * 3, [1, 1, 2])
    assert job["details"]["iterator"] is True
    assert (job["details"]["owner"], job["details"]["name"], job["details"]["alias"]) == ("ada", "cats", "production")
    assert "upload" not in job["details"]
    stored = json.loads(redis.hget(f"headrace:{{a}}:job:{job['id']}", "details") or b"{}")
    assert artifacts.read(stored["upload"]) == b"PK-model"
    assert stored["upload"] == f"uploads/{job['id']}"
    assert client.get("/v1/models/ada/cats").status_code == 404  # the worker makes it, with its first version


def test_an_archive_becomes_a_dataset_job(client: FlaskClient, redis: Redis) -> None:
    reply = _push(client, "/v1/datasets", name="digits", seed="7", splits='{"train": 0.5, "test": 0.5}')
    assert reply.status_code == 201
    details = reply.json["details"]
    assert (details["name"], details["seed"]) == ("digits", 7)
    assert details["splits"] == {"train": 0.5, "validation": 0.0, "test": 0.5}
    assert redis.hget(f"headrace:{{a}}:job:{reply.json['id']}", "pool") == b"prepare.cpu"


@pytest.mark.parametrize("path", [VERSIONS, "/v1/datasets"])
def test_nothing_of_an_upload_stays_on_the_machines_own_disk(
    client: FlaskClient, settings: Settings, path: str
) -> None:
    assert _push(client, path, name="digits").status_code in (201, 422)
    assert list((settings.data_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"labels": '["a", "a"]'}, "labels"),
        ({"labels": "[1, 2]"}, "labels"),
        ({"labels": "[1"}, "labels"),
        ({"scale": "big"}, "scale"),
        ({"scale": "1/0"}, "scale"),
        ({"scale": "nan"}, "scale"),
        ({"mean": "1,x"}, "mean"),
        ({"std": "0,1"}, "std"),
        ({"iterator": "perhaps"}, "iterator"),
        ({"alias": "No Name"}, "alias"),
        ({"webhook": "ftp://example.org"}, "webhook"),
    ],
)
def test_ill_formed_options_of_an_import_are_422(
    client: FlaskClient, artifacts: ArtifactStore, fields: dict[str, str], field: str
) -> None:
    reply = _push(client, VERSIONS, **fields)
    assert reply.status_code == 422
    assert reply.json["invalid_fields"][0]["field"] == field
    assert artifacts.names("uploads") == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "name"),
        ({"name": "No Name"}, "name"),
        ({"name": "a", "seed": "-1"}, "seed"),
        ({"name": "a", "splits": "{"}, "splits"),
        ({"name": "a", "splits": '{"train": 2}'}, "splits.train"),
    ],
)
def test_ill_formed_options_of_a_data_set_are_422(client: FlaskClient, fields: dict[str, str], field: str) -> None:
    reply = _push(client, "/v1/datasets", **fields)
    assert reply.status_code == 422
    assert reply.json["invalid_fields"][0]["field"] == field


def test_an_upload_without_exactly_one_file_is_422(client: FlaskClient) -> None:
    assert client.post("/v1/datasets", json={"name": "a"}).status_code == 422
    fields = {"name": "a", "file": "text"}
    assert client.post("/v1/datasets", data=fields, content_type="multipart/form-data").status_code == 422
    twice = {"name": "a", "file": [(io.BytesIO(b"1"), "a"), (io.BytesIO(b"2"), "b")]}
    assert client.post("/v1/datasets", data=twice).status_code == 422
    assert _push(client, "/v1/datasets", b"", name="a").status_code == 422


@pytest.mark.parametrize("declared", [True, False])
def test_a_file_above_its_limit_is_413(client: FlaskClient, declared: bool, artifacts: ArtifactStore) -> None:
    services = client.application.extensions["headrace"]
    small = services.settings.model_copy(update={"datasets": DatasetsSettings(max_upload_bytes=100_000)})
    object.__setattr__(services, "settings", small)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + b"x" * (5_000_000 if declared else 100_001) + b"\r\n--b--\r\n"
    reply = client.post("/v1/datasets", data=body, content_type="multipart/form-data; boundary=b")
    assert reply.status_code == 413
    assert _push(client, "/v1/datasets", b"x" * 100_000, name="a").status_code == 201
    assert len(artifacts.names("uploads")) == 1


def test_a_repeated_upload_with_one_key_makes_one_job_and_keeps_one_file(
    client: FlaskClient, artifacts: ArtifactStore
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = _push(client, "/v1/datasets", headers=headers, name="digits").json["id"]
    assert _push(client, "/v1/datasets", headers=headers, name="digits").json["id"] == first
    assert artifacts.names("uploads") == [first]
    assert _push(client, "/v1/datasets", b"other", headers=headers, name="digits").status_code == 422
    assert artifacts.names("uploads") == [first]


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_the_file_of_a_job_that_never_ran_goes_with_it(client: FlaskClient, artifacts: ArtifactStore, end: str) -> None:
    job_id = _push(client, "/v1/datasets", name="digits").json["id"]
    if end == "cancel":
        client.post(f"/v1/jobs/{job_id}/cancel")
    else:
        client.delete(f"/v1/jobs/{job_id}")
    assert artifacts.names("uploads") == []


def test_the_store_knows_when_to_delete_an_upload_that_no_job_reads(client: FlaskClient, redis: Redis) -> None:
    job_id = _push(client, "/v1/datasets", name="digits").json["id"]
    assert redis.zscore("headrace:{a}:spilled", f"uploads/{job_id}") is not None


def test_a_refused_upload_leaves_nothing(
    client: FlaskClient, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise TooManyRequests("full", 3)

    monkeypatch.setattr(client.application.extensions["headrace"].queue, "submit", full)
    assert _push(client, "/v1/datasets", name="digits").status_code == 429
    assert artifacts.names("uploads") == []


def test_the_owner_headrace_is_reserved(client: FlaskClient, make_key: Callable[..., str], tmp_path: Path) -> None:
    assert _push(client, "/v1/models/headrace/cats/versions").status_code == 403
    assert _push(client, "/v1/models/Ada/cats/versions").status_code == 404


def test_data_sets_that_do_not_exist_are_404(client: FlaskClient) -> None:
    assert client.get("/v1/datasets").json == {"previous": None, "next": None, "results": []}
    assert client.get("/v1/datasets/none").status_code == 404
    assert client.delete("/v1/datasets/none").status_code == 404
