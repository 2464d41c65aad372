import base64
import hashlib
import io
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask.testing import FlaskClient

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.files import Files
from shared.jobs.sweeps import Sweeper
from shared.settings import ArtifactsSettings, FilesSettings, Settings

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
def files_settings() -> FilesSettings:
    return FilesSettings()


@pytest.fixture
def settings(settings: Settings, files_settings: FilesSettings) -> Settings:
    return settings.model_copy(update={"files": files_settings})


def push(client: FlaskClient, data: bytes = DATA, name: str = "cat.png", **fields: Any) -> Any:
    form = {"content": (io.BytesIO(data), name, "text/html"), **fields}
    return client.post("/v1/files", data=form, content_type="multipart/form-data")


def bytes_of(client: FlaskClient, url: str, **headers: str) -> Any:
    parts = urlsplit(url)
    return client.get(f"{parts.path}?{parts.query}", headers=headers)


def test_a_file_is_kept_with_its_digest_and_the_type_that_its_bytes_have(
    client: FlaskClient, artifacts: ArtifactStore
) -> None:
    reply = push(client, metadata='{"camera": 7}')
    assert reply.status_code == 201
    file = reply.json
    assert (file["name"], file["content_type"], file["size"]) == ("cat.png", "image/png", len(DATA))
    assert file["checksums"] == {"sha256": hashlib.sha256(DATA).hexdigest()}
    assert isinstance(file["etag"], str) and file["metadata"] == {"camera": 7}
    assert file["urls"]["get"] == reply.headers["Location"] == f"http://localhost/v1/files/{file['id']}"
    assert artifacts.read(f"files/{file['id']}/content") == DATA
    shown = client.get(f"/v1/files/{file['id']}").json
    assert shown is not None and {**shown, "urls": 0} == {**file, "urls": 0}


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": '{"a": "1", "b": {"c": ["2"]}}'},
        {"metadata": (io.BytesIO(b'{"a": "1", "b": {"c": ["2"]}}'), "blob", "application/json")},
        {"metadata[a]": "1", "metadata[b][c][]": "2", "filename": "cat.png", "type": "text/html"},
    ],
)
def test_each_stock_client_sends_metadata_in_a_shape_of_its_own(client: FlaskClient, fields: Any) -> None:
    file = push(client, name="upload" if "filename" in fields else "cat.png", **fields).json
    assert (file["metadata"], file["name"], file["content_type"]) == (
        {"a": "1", "b": {"c": ["2"]}},
        "cat.png",
        "image/png",
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\cat.png", "cat.png"),
        ("/", "upload"),
        ("..", "upload"),
        (".", "upload"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("große Katze.png", "große Katze.png"),
        ("é" * 127, "é" * 127),
    ],
)
def test_a_name_is_a_name_and_never_a_path(
    client: FlaskClient, artifacts: ArtifactStore, given: str, kept: str
) -> None:
    file = push(client, filename=given).json
    assert file["name"] == kept
    assert artifacts.names("files") == [file["id"]]
    saved = bytes_of(client, file["urls"]["download"]).headers["Content-Disposition"]
    assert saved.startswith("attachment; filename=") and "\n" not in saved


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"filename": "é" * 128}, "filename"),
        ({"metadata": "[1]"}, "metadata"),
        ({"metadata": "{"}, "metadata"),
        ({"metadata": json.dumps({"a": "x" * 70_000})}, "metadata"),
        ({"metadata[a]": "1", "metadata": "{}"}, "metadata"),
        ({"owner": "bob"}, "owner"),
        ({"other": (io.BytesIO(b"x"), "x.png")}, "other"),
    ],
)
def test_what_cannot_be_kept_of_a_file_is_422_and_leaves_nothing(
    client: FlaskClient, artifacts: ArtifactStore, settings: Settings, fields: Any, field: str
) -> None:
    reply = push(client, **fields)
    assert reply.status_code == 422
    assert reply.json["invalid_fields"][0]["field"] == field
    assert artifacts.names("files") == [] and list((settings.data_dir / "uploads").iterdir()) == []


def test_a_body_without_a_file_says_what_is_missing(client: FlaskClient) -> None:
    assert push(client, data=b"").status_code == 422
    for form in ({"metadata": "{}"}, {"content": "text"}):
        reply = client.post("/v1/files", data=form, content_type="multipart/form-data")
        assert reply.status_code == 422 and reply.json["invalid_fields"][0]["field"] == "content"
    assert client.post("/v1/files", json={}).status_code == 422


def test_files_are_listed_newest_first_over_pages(client: FlaskClient) -> None:
    made = [push(client, data=bytes([number])).json["id"] for number in range(3)]
    page = client.get("/v1/files?limit=2").json
    assert page is not None and [file["id"] for file in page["results"]] == sorted(made, reverse=True)[:2]
    rest = client.get(page["next"].removeprefix("http://localhost")).json
    assert rest is not None and [file["id"] for file in rest["results"]] == sorted(made, reverse=True)[2:]
    assert rest["next"] is None


def test_a_deleted_file_is_gone_with_its_bytes_and_its_links(client: FlaskClient, artifacts: ArtifactStore) -> None:
    file = push(client).json
    assert client.delete(f"/v1/files/{file['id']}").status_code == 204
    assert client.get(f"/v1/files/{file['id']}").status_code == 404
    assert client.delete(f"/v1/files/{file['id']}").status_code == 404
    assert bytes_of(client, file["urls"]["download"]).status_code == 404
    assert client.get("/v1/files").json["results"] == []  # type: ignore[index]
    assert artifacts.names("files") == []


def test_another_accounts_file_is_unknown(
    client: FlaskClient, client_of: Callable[[str], FlaskClient], make_key: Callable[..., str]
) -> None:
    file = push(client).json
    other = client_of(make_key("bob"))
    assert other.get(f"/v1/files/{file['id']}").status_code == 404
    assert other.delete(f"/v1/files/{file['id']}").status_code == 404
    assert other.get("/v1/files").json["results"] == []  # type: ignore[index]
    assert client.get(f"/v1/files/{file['id']}").status_code == 200


def test_writing_files_needs_the_scope_of_predictions_and_reading_them_that_of_reading(
    client_of: Callable[[str], FlaskClient], make_key: Callable[..., str]
) -> None:
    reader, writer = client_of(make_key(scopes=("read",))), client_of(make_key(scopes=("predictions:write",)))
    assert push(reader).status_code == 403
    file = push(writer).json
    assert writer.get("/v1/files").status_code == 403
    assert reader.get(f"/v1/files/{file['id']}").status_code == 200
    assert reader.delete(f"/v1/files/{file['id']}").status_code == 403
    assert writer.delete(f"/v1/files/{file['id']}").status_code == 204


def test_a_signed_link_downloads_without_a_key_as_an_attachment_that_runs_nothing(
    client: FlaskClient, anonymous: FlaskClient
) -> None:
    file = push(client, b"<script>alert(1)</script>", "page.html").json
    for reply in (
        bytes_of(anonymous, file["urls"]["download"]),
        bytes_of(anonymous, file["urls"]["download"], Authorization="Bearer anything"),
    ):
        assert (reply.status_code, reply.data) == (200, b"<script>alert(1)</script>")
        assert reply.headers["Content-Type"].startswith("text/plain")
        assert reply.headers["Content-Disposition"].startswith('attachment; filename="page.html"')
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in reply.headers["Content-Security-Policy"]


def test_a_download_may_be_of_a_part(client: FlaskClient, anonymous: FlaskClient) -> None:
    url = push(client).json["urls"]["download"]
    reply = bytes_of(anonymous, url, Range="bytes=10-19")
    assert (reply.status_code, reply.data) == (206, DATA[10:20])
    assert reply.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    assert bytes_of(anonymous, url, Range="bytes=-5").data == DATA[-5:]
    assert bytes_of(anonymous, url, Range=f"bytes={len(DATA)}-").status_code == 416
    whole = bytes_of(anonymous, url)
    assert whole.data == DATA
    assert bytes_of(anonymous, url, **{"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_downloads_give_back_their_places(client: FlaskClient, anonymous: FlaskClient, app: Any) -> None:
    url = push(client).json["urls"]["download"]
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=999999-"}, {"If-None-Match": "x"}):
        bytes_of(anonymous, url, **headers).close()
    assert app.extensions["headrace"].slots._held.total() == 0


def test_the_signature_of_a_link_is_the_one_that_the_contract_documents(client: FlaskClient, app: Any) -> None:
    file = push(client).json
    query = parse_qs(urlsplit(file["urls"]["download"]).query)
    assert query.keys() == {"owner", "expiry", "signature"} and query["owner"] == ["ada"]
    assert len(base64.b64decode(query["signature"][0], validate=True)) == 32
    assert int(query["expiry"][0]) > time.time()


@pytest.mark.parametrize(
    ("change", "value"), [("owner", "bob"), ("expiry", "9999999999"), ("signature", "AAAA"), ("expiry", "x")]
)
def test_a_changed_link_opens_nothing(client: FlaskClient, anonymous: FlaskClient, change: str, value: str) -> None:
    file = push(client).json
    query = {name: values[0] for name, values in parse_qs(urlsplit(file["urls"]["download"]).query).items()}
    assert anonymous.get(f"/v1/files/{file['id']}/download", query_string=query).status_code == 200
    reply = anonymous.get(f"/v1/files/{file['id']}/download", query_string={**query, change: value})
    assert reply.status_code == 403
    other = push(client).json["id"]
    assert anonymous.get(f"/v1/files/{other}/download", query_string=query).status_code == 403
    assert anonymous.get(f"/v1/files/{file['id']}/download").status_code == 403


class TestLimits:
    @pytest.fixture
    def files_settings(self) -> FilesSettings:
        return FilesSettings(max_upload_bytes=2 << 20, account_max_bytes=3 << 20)

    @pytest.fixture
    def push(self, client: FlaskClient) -> Callable[[bytes], Any]:
        """Uploads a body that is whole in memory: the test client leaves a file open for one that it makes itself."""

        def send(data: bytes) -> Any:
            made = requests.Request("POST", "http://x", files={"content": ("cat.png", data)}).prepare()
            return client.post("/v1/files", data=made.body, content_type=made.headers["Content-Type"])

        return send

    def test_a_file_above_the_limit_is_413_in_the_words_that_users_know(
        self, push: Callable[[bytes], Any], artifacts: ArtifactStore, settings: Settings
    ) -> None:
        for size in ((2 << 20) + 1, 4 << 20):
            reply = push(b"x" * size)
            assert (reply.status_code, reply.json["detail"]) == (413, "Files must be less than 2MB in size")
            assert reply.headers["Content-Type"] == "application/problem+json"
        assert artifacts.names("files") == [] and list((settings.data_dir / "uploads").iterdir()) == []
        assert push(b"x" * (2 << 20)).status_code == 201

    def test_an_account_may_store_so_much_and_again_after_deleting(
        self, push: Callable[[bytes], Any], client: FlaskClient
    ) -> None:
        file = push(b"x" * (2 << 20)).json
        reply = push(b"x" * ((1 << 20) + 1))
        assert reply.status_code == 413 and "3145728" in reply.json["detail"]
        assert push(b"x" * (1 << 20)).status_code == 201
        client.delete(f"/v1/files/{file['id']}")
        assert push(b"x" * (2 << 20)).status_code == 201


class TestExpiry:
    @pytest.fixture
    def files_settings(self) -> FilesSettings:
        return FilesSettings(retain_seconds=0.3)

    def test_a_file_ends_at_its_time_with_bytes_record_listing_and_share_of_the_limit(
        self,
        client: FlaskClient,
        redis: Redis,
        settings: Settings,
        artifacts: ArtifactStore,
        eventually: Callable[..., object],
    ) -> None:
        file = push(client).json
        eventually(lambda: client.get(f"/v1/files/{file['id']}").status_code == 404, seconds=5)
        assert bytes_of(client, file["urls"]["download"]).status_code in (403, 404)
        sweeper = Sweeper(redis, settings, artifacts, also=(Files(redis, settings, artifacts).tidy,))
        eventually(lambda: sweeper.run_once() and artifacts.names("files") == [], seconds=5)
        kept = {name.decode() for name in redis.keys("*")}
        assert not any("file" in name for name in kept), kept


def test_bytes_without_a_record_go_when_a_process_died_in_between(
    redis: Redis, settings: Settings, artifacts: ArtifactStore, client: FlaskClient
) -> None:
    kept = push(client).json["id"]
    artifacts.write("files/orphan/content", b"half")
    redis.zadd("headrace:{a}:spilled", {"files/orphan": 1})  # as it stands an hour after the upload began
    assert Sweeper(redis, settings, artifacts).run_once()
    assert artifacts.names("files") == [kept]


def test_an_upload_whose_bytes_were_swept_meanwhile_gets_no_record(
    redis: Redis, settings: Settings, artifacts: ArtifactStore
) -> None:
    class Slow(ArtifactStore):
        def put_open(self, file: Any, path: str) -> None:
            super().put_open(file, path)
            redis.delete("headrace:{a}:spilled")

    files = Files(redis, settings, Slow(artifacts.url))
    facts: dict[str, Any] = {"name": "x", "content_type": "image/png", "size": len(DATA), "sha256": "0", "metadata": {}}
    with pytest.raises(Exception, match="took too long"):
        files.keep(io.BytesIO(DATA), account="ada", key_id="k", **facts)
    assert files.ids("ada") == [] and artifacts.names("files") == []


class TestOnAnObjectStore:
    @pytest.fixture
    def settings(self, settings: Settings, tmp_path: Any) -> Settings:
        return settings.model_copy(update={"artifacts": ArtifactsSettings(url=f"memory://{tmp_path.name}")})

    def test_files_come_go_and_are_downloaded_in_parts_there_as_well(
        self, client: FlaskClient, anonymous: FlaskClient, artifacts: ArtifactStore
    ) -> None:
        file = push(client).json
        assert artifacts.local_path("files") is None and artifacts.names("files") == [file["id"]]
        assert bytes_of(anonymous, file["urls"]["download"]).data == DATA
        assert bytes_of(anonymous, file["urls"]["download"], Range="bytes=10-19").data == DATA[10:20]
        assert client.delete(f"/v1/files/{file['id']}").status_code == 204
        assert artifacts.names("files") == []
