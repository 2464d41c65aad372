import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import Settings

PIXEL = "data:image/png;base64,iVBORw0KGgo="

NUMBERS = Signature(
    inputs=(TensorSpec("x", TensorKind.TENSOR, "float32", (2,)), TensorSpec("y", TensorKind.TEXT, "string", ())),
    outputs=(TensorSpec("out", TensorKind.TENSOR, "float32", (1,)),),
)


def refused(reply: Any, status: int, field: str | None = None) -> dict[str, Any]:
    """Checks that a reply is a problem document of a status, and returns it."""
    assert reply.status_code == status, reply.data
    assert reply.content_type == "application/problem+json"
    problem: dict[str, Any] = reply.json
    assert problem["status"] == status and problem["title"] and problem["detail"] and problem["code"]
    assert "Traceback" not in reply.text and "<html" not in reply.text.lower()
    if field is not None:
        assert problem["invalid_fields"][0]["field"] == field
    return problem


def test_an_unknown_version_is_422_in_the_words_that_clients_know(client: FlaskClient, version: ModelVersion) -> None:
    for reference in ("0" * 64, "ada/digits:" + "0" * 64, f"ada/others:{version.id}"):
        reply = client.post("/v1/predictions", json={"version": reference, "input": {"image": PIXEL}})
        problem = refused(reply, 422)
        assert problem["title"] == "Invalid version or not permitted"
        assert problem["detail"].startswith("The specified version does not exist")


def test_an_alias_as_version_is_422_with_a_hint(client: FlaskClient, version: ModelVersion) -> None:
    for reference in ("candidate", "ada/digits:candidate"):
        reply = client.post("/v1/predictions", json={"version": reference, "input": {"image": PIXEL}})
        assert "promote" in refused(reply, 422, "version")["detail"]


def test_an_unknown_model_is_404(client: FlaskClient, version: ModelVersion) -> None:
    refused(client.post("/v1/models/ada/nothing/predictions", json={"input": {"image": PIXEL}}), 404)
    refused(client.post("/v1/predictions", json={"version": "ada/nothing", "input": {"image": PIXEL}}), 404)
    refused(client.get("/v1/models/ada/nothing"), 404)


def test_a_model_without_production_is_404_and_says_how_to_promote(
    client: FlaskClient, registry: ModelRegistry
) -> None:
    registry.create_model("ada", "empty")
    problem = refused(client.post("/v1/models/ada/empty/predictions", json={"input": {"image": PIXEL}}), 404)
    assert "promote" in problem["detail"]


def test_a_recipe_does_not_predict(client: FlaskClient) -> None:
    recipe = client.get("/v1/models/headrace/image-classifier").json
    assert recipe is not None
    for reference in ("headrace/image-classifier", recipe["latest_version"]["id"]):
        reply = client.post("/v1/predictions", json={"version": reference, "input": {"image": PIXEL}})
        assert "train it" in refused(reply, 422, "version")["detail"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "input"),
        ({"image": None}, "input"),
        ({"image": PIXEL, "size": 3}, "input.size"),
        ({"image": 7}, "input.image"),
        ({"image": "no base64!"}, "input.image"),
        ({"image": "https://user:word@example.org/cat.png"}, "input.image"),
        ({"image": PIXEL, "top_k": "many"}, "input.top_k"),
        ({"image": PIXEL, "threshold": 2}, "input.threshold"),
        ({"image": PIXEL, "priority": "urgent"}, "input.priority"),
        ([], "input"),
        ("text", "input"),
        (None, "input"),
    ],
)
def test_missing_extra_and_ill_typed_input_is_422_naming_the_field(
    client: FlaskClient, version: ModelVersion, value: Any, field: str
) -> None:
    refused(client.post("/v1/predictions", json={"version": version.id, "input": value}), 422, field)


def test_a_body_without_input_or_version_is_422(client: FlaskClient, version: ModelVersion) -> None:
    refused(client.post("/v1/predictions", json={"version": version.id}), 422, "input")
    refused(client.post("/v1/predictions", json={"input": {"image": PIXEL}}), 422, "version")


@pytest.mark.parametrize("key", ["inputs", "Input", "webhooks"])
def test_a_top_level_key_that_is_unknown_is_422_and_named(client: FlaskClient, version: ModelVersion, key: str) -> None:
    body = {"version": version.id, "input": {"image": PIXEL}, key: {}}
    assert key in refused(client.post("/v1/predictions", json=body), 422, key)["detail"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"a": NaN}'])
def test_a_body_that_is_no_json_object_is_422(client: FlaskClient, raw: bytes) -> None:
    refused(client.post("/v1/predictions", data=raw, content_type="application/json"), 422)
    refused(client.post("/v1/predictions", data=b"[" * 100_000, content_type="application/json"), 422)


def test_too_many_rows_are_413(client: FlaskClient, version: ModelVersion, settings: Settings) -> None:
    rows = [PIXEL] * (settings.inference.max_job_rows + 1)
    refused(client.post("/v1/predictions", json={"version": version.id, "input": {"image": rows}}), 413)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes_are_413_while_they_are_read(client: FlaskClient, version: ModelVersion, chunked: bool) -> None:
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    body = b'{"input": "' + b"a" * 5000 + b'"}'
    read = 0

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    extra: dict[str, Any] = {"headers": {"Transfer-Encoding": "chunked"}} if chunked else {"content_length": len(body)}
    reply = client.post(
        "/v1/predictions",
        input_stream=Stream(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
        **extra,
    )
    refused(reply, 413)
    assert read <= 1001


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Bearer hr_" + "x" * 43, "Basic YTpi"])
def test_no_or_an_unknown_key_is_401(anonymous: FlaskClient, header: str) -> None:
    for method, path in (("GET", "/v1/predictions"), ("POST", "/v1/predictions"), ("GET", "/metrics")):
        reply = anonymous.open(path, method=method, headers={"Authorization": header} if header else {})
        assert refused(reply, 401)["title"] == "Unauthenticated"
        assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("scopes", "method", "path"),
    [
        (("read",), "POST", "/v1/predictions"),
        (("predictions:write",), "GET", "/v1/predictions"),
        (("read", "predictions:write"), "POST", "/v1/models"),
        (("read", "models:write"), "POST", "/v1/datasets"),
        (("read",), "GET", "/metrics"),
        (("read",), "POST", f"/v1/models/headrace/image-classifier/versions/{'0' * 64}/trainings"),
    ],
)
def test_a_missing_scope_is_403(
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    scopes: tuple[str, ...],
    method: str,
    path: str,
) -> None:
    refused(client_of(make_key(scopes=scopes)).open(path, method=method), 403)


def test_the_scope_to_cancel_is_that_of_the_kind_of_the_job(
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    version: ModelVersion,
) -> None:
    job = client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL}}).json
    assert job is not None
    other = client_of(make_key(scopes=("read", "trainings:write")))
    for path in (f"/v1/predictions/{job['id']}/cancel", f"/v1/jobs/{job['id']}/cancel"):
        refused(other.post(path), 403)
    refused(other.delete(f"/v1/jobs/{job['id']}"), 403)


def test_another_accounts_job_is_404(
    client: FlaskClient,
    client_of: Callable[[str], FlaskClient],
    make_key: Callable[..., str],
    version: ModelVersion,
) -> None:
    job = client.post("/v1/predictions", json={"version": version.id, "input": {"image": PIXEL}}).json
    assert job is not None
    bob = client_of(make_key("bob"))
    for path in (f"/v1/predictions/{job['id']}", f"/v1/jobs/{job['id']}"):
        refused(bob.get(path), 404)
        refused(bob.get(path + "?wait=5"), 404)
        refused(bob.post(path + "/cancel"), 404)
        refused(bob.delete(path), 404)
    assert bob.get("/v1/jobs").json == {"previous": None, "next": None, "results": []}
    assert client.get(f"/v1/predictions/{job['id']}").status_code == 200


@pytest.mark.parametrize("job_id", ["x", "a" * 26, "..", "%7Ba%7D", "a:b" * 10, "%00" * 26])
def test_an_unknown_job_is_404(client: FlaskClient, job_id: str) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        refused(client.open(f"/v1/jobs/{job_id}{path}", method=method), 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/nothing", 404), ("GET", "//v1//jobs", 404), ("PATCH", "/v1/jobs", 405)],
)
def test_unknown_paths_and_methods_are_problems_and_no_pages(
    client: FlaskClient, anonymous: FlaskClient, method: str, path: str, status: int
) -> None:
    refused(client.open(path, method=method), status)
    refused(anonymous.open(path, method=method), status)


def test_an_unexpected_failure_is_500_without_a_traceback(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    services = client.application.extensions["headrace"]
    monkeypatch.setattr(services.jobs, "list", fail)
    assert "secret" not in refused(client.get("/v1/jobs"), 500)["detail"]


def test_a_file_for_an_input_of_numbers_or_two_values_for_one_input_are_422(
    client: FlaskClient, publish: Callable[..., ModelVersion]
) -> None:
    version = publish(NUMBERS, name="numbers")

    def post(**parts: Any) -> Any:
        fields = {"version": version.id, **parts}
        return client.post("/v1/predictions", data=fields, content_type="multipart/form-data")

    refused(post(x=(io.BytesIO(b"1,2"), "x.csv")), 422, "input.x")
    refused(post(input='{"y": "a"}', y=(io.BytesIO(b"text"), "y.txt")), 422, "input.y")
    refused(post(y=(io.BytesIO(b"\xff"), "y.txt")), 422, "input.y")
    refused(post(z=(io.BytesIO(b"text"), "z.txt")), 422, "input.z")
    refused(post(input="{"), 422, "input")


def test_a_raw_image_goes_to_a_model_of_one_image_only(
    client: FlaskClient, version: ModelVersion, publish: Callable[..., ModelVersion], registry: ModelRegistry
) -> None:
    numbers = publish(NUMBERS, name="numbers")
    registry.move_alias("ada", "numbers", "production", numbers.id, "ada")
    refused(client.post("/v1/models/ada/numbers/predictions", data=b"png", content_type="image/png"), 422)
    refused(client.post("/v1/predictions", data=b"png", content_type="image/png"), 422)
    path = "/v1/models/ada/digits/predictions"
    refused(client.post(path, data=b"gif", content_type="image/gif"), 422, "Content-Type")
    refused(client.post(path, data=b"", content_type="image/png"), 422)
    refused(client.post(path + "?topk=1", data=b"png", content_type="image/png"), 422, "topk")
    refused(client.post(path + "?top_k=a", data=b"png", content_type="image/png"), 422, "input.top_k")


@pytest.mark.parametrize("key", ["", "a" * 256, "with space", "ü"])
def test_an_idempotency_key_that_cannot_be_one_is_422(client: FlaskClient, version: ModelVersion, key: str) -> None:
    reply = client.post(
        "/v1/predictions",
        json={"version": version.id, "input": {"image": PIXEL}},
        environ_overrides={"HTTP_IDEMPOTENCY_KEY": key},
    )
    if key:
        refused(reply, 422, "Idempotency-Key")
    else:
        assert reply.status_code == 201


def test_an_unloadable_version_is_refused_until_it_is_reset(
    client: FlaskClient, version: ModelVersion, registry: ModelRegistry
) -> None:
    for _ in range(3):
        registry.record_load(version.id, "begun")
        registry.record_load(version.id, "failed", "no such layer")
    client.application.extensions["headrace"].registry.forget()
    body = {"version": version.id, "input": {"image": PIXEL}}
    assert "no such layer" in refused(client.post("/v1/predictions", json=body), 422, "version")["detail"]
    assert client.post(f"/v1/models/ada/digits/versions/{version.id}/reset").status_code == 200
    assert client.post("/v1/predictions", json=body).status_code == 201
