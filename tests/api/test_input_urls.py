import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.connections import Redis
from shared.jobs.queue import JobQueue
from shared.models.version import ModelVersion
from shared.settings import HttpSettings, Settings

PATH = "/v1/models/ada/digits/predictions"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
FOREIGN = "https://example.org/cat.png?size=2#top"
IMAGE = b"\x89PNG\r\n\x1a\n" + b"x" * 1000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"http": HttpSettings(public_url="https://models.example.org/api")})


@pytest.fixture
def push(client: FlaskClient) -> Callable[..., Any]:
    def send(of: FlaskClient = client) -> Any:
        return of.post("/v1/files", data={"content": (io.BytesIO(IMAGE), "cat.png")}).json

    return send


@pytest.fixture
def record(redis: Redis) -> Callable[[str, str], Any]:
    """A field of what Redis keeps of a job."""

    def read(job_id: str, name: str) -> Any:
        kind = "data" if name in ("input", "sources") else "job"
        return json.loads(redis.hget(f"headrace:{{a}}:{kind}:{job_id}", name) or b"null")

    return read


@pytest.mark.usefixtures("version")
class TestOurOwnFiles:
    @pytest.mark.parametrize(
        "address",
        [
            "https://models.example.org/api/v1/files/{id}",
            "https://models.example.org:443/api/files/{id}",
            "HTTPS://Models.Example.org/api/v1/v1/files/{id}/",
            "http://localhost:8123/v1/files/{id}",
            "http://127.0.0.1/files/{id}?x=1",
            "http://[::1]:8000/v1/v1/files/{id}",
            "https://models.example.org/api/v1/files/{id}/download?owner=ada&expiry=1&signature=x",
        ],
    )
    def test_a_file_is_taken_from_where_it_lies_under_every_address_of_ours(
        self, client: FlaskClient, push: Any, record: Any, address: str
    ) -> None:
        file = push()
        url = address.format(id=file["id"])
        job = client.post(PATH, json={"input": {"image": url}}).json
        assert job is not None and job["input"] == {"image": url}
        assert record(job["id"], "input") == {"image": f"artifact:files/{file['id']}/content"}
        assert record(job["id"], "bytes") > len(IMAGE)
        shown = client.get(f"/v1/predictions/{job['id']}").json
        assert shown is not None and shown["input"] == {"image": url} and shown["details"] == {}
        assert shown["queue_position"] == 0

    def test_the_url_that_an_upload_is_answered_with_is_one_of_them(
        self, client: FlaskClient, push: Any, record: Any
    ) -> None:
        file = push()
        for url in file["urls"].values():
            job = client.post(PATH, json={"input": {"image": [url, PIXEL]}}).json
            assert job is not None and job["rows"] == 2
            assert record(job["id"], "input")["image"] == [f"artifact:files/{file['id']}/content", PIXEL]

    def test_another_accounts_file_and_one_that_is_gone_are_unknown(
        self, client: FlaskClient, push: Any, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str]
    ) -> None:
        theirs, deleted = push(client_of(make_key("bob"))), push()
        client.delete(f"/v1/files/{deleted['id']}")
        unknown = (
            theirs["urls"]["get"],
            theirs["urls"]["download"],
            deleted["urls"]["get"],
            "http://localhost/files/x",
        )
        for url in unknown:
            reply = client.post(PATH, json={"input": {"image": url}})
            assert reply.status_code == 422
            field = reply.json["invalid_fields"][0]  # type: ignore[index]
            assert (field["field"], field["type"]) == ("input.image", "unknown_file")
            assert url not in field["description"]

    def test_a_multipart_body_may_name_files_too(self, client: FlaskClient, push: Any, record: Any) -> None:
        url = push()["urls"]["get"]
        job = client.post(PATH, data={"input": json.dumps({"image": url})}, content_type="multipart/form-data").json
        assert job is not None and record(job["id"], "input")["image"].startswith("artifact:files/")


@pytest.mark.usefixtures("version")
class TestForeignUrls:
    def test_a_job_is_held_until_what_it_names_is_here(
        self,
        client: FlaskClient,
        version: ModelVersion,
        record: Any,
        redis: Redis,
        queue: JobQueue,
        take: Any,
        finish: Any,
    ) -> None:
        given = {"image": [FOREIGN, PIXEL, "http://example.com:8080/dog.png", FOREIGN]}
        job = client.post(PATH, json={"input": given}).json
        assert job is not None and (job["status"], job["rows"], job["input"]) == ("starting", 4, given)
        first, second = f"artifact:fetched/{job['id']}/0", f"artifact:fetched/{job['id']}/1"
        assert record(job["id"], "input") == {"image": [first, PIXEL, second, first]}
        assert record(job["id"], "sources") == {first: FOREIGN, second: "http://example.com:8080/dog.png"}
        assert b"example.com" not in b"".join(redis.hvals(f"headrace:{{a}}:job:{job['id']}")), "gone with the input"
        assert redis.zrange("headrace:{a}:outgoing:fetch@example.org:443", 0, -1) == [f"{job['id']}|fetch".encode()]
        assert take(version.id)[1] == []
        assert queue.admit(job["id"], 5000) == "admitted"
        assert finish(version.id) == 1
        shown = client.get(f"/v1/predictions/{job['id']}").json
        assert shown is not None and (shown["status"], shown["input"], shown["details"]) == ("succeeded", given, {})
        assert redis.zscore("headrace:{a}:spilled", f"fetched/{job['id']}") is not None

    def test_it_can_be_canceled_and_deleted_meanwhile(self, client: FlaskClient, redis: Redis) -> None:
        job = client.post(PATH, json={"input": {"image": FOREIGN}}).json
        assert job is not None
        assert client.post(f"/v1/predictions/{job['id']}/cancel").json["status"] == "canceled"  # type: ignore[index]
        assert redis.zcard("headrace:{a}:outgoing:fetch@example.org:443") == 0
        assert client.delete(f"/v1/predictions/{job['id']}").status_code == 204

    def test_a_repeated_create_fetches_to_the_place_of_the_first(
        self, client: FlaskClient, record: Any, redis: Redis, app: Any
    ) -> None:
        headers = {"X-Stainless-Retry-Count": "0"}
        body = {"version": "ada/digits", "input": {"image": FOREIGN}}
        first = client.post("/v1/predictions", json=body, headers=headers).json
        assert first is not None
        client.post(f"/v1/predictions/{first['id']}/cancel")
        assert client.delete(f"/v1/predictions/{first['id']}").status_code == 204  # as if the first had got lost
        again = client.post("/v1/predictions", json=body, headers={"X-Stainless-Retry-Count": "1"}).json
        assert again is not None and again["id"] == first["id"]
        assert record(first["id"], "input") == {"image": f"artifact:fetched/{first['id']}/0"}
        assert list(record(first["id"], "sources")) == [f"artifact:fetched/{first['id']}/0"]

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/cat.png",
            "http://2130706433/cat.png",
            "http://user:word@example.org/cat.png",
            "http://",
            "http://user@localhost/v1/files/x",
        ],
    )
    def test_one_that_may_never_be_called_is_refused_at_the_door(self, client: FlaskClient, url: str) -> None:
        reply = client.post(PATH, json={"input": {"image": url}})
        assert reply.status_code == 422, reply.json
        assert reply.json["invalid_fields"][0]["field"] == "input.image"  # type: ignore[index]


@pytest.mark.usefixtures("version")
def test_a_place_in_the_store_is_no_input(client: FlaskClient, push: Any) -> None:
    place = f"artifact:files/{push()['id']}/content"
    for value in (place, [place], [PIXEL, place]):
        assert client.post(PATH, json={"input": {"image": value}}).status_code == 422
