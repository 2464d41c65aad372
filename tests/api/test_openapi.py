from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator


def test_the_document_is_public_and_valid(anonymous: FlaskClient) -> None:
    answer = anonymous.get("/openapi.json")
    assert answer.status_code == 200 and answer.json is not None
    assert answer.json["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(answer.json).validate()


def test_a_body_is_refused_by_the_schema_that_the_document_shows(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    shown = document["components"]["schemas"]["NewModel"]
    assert shown["required"] == ["owner", "name"] and shown["additionalProperties"] is False
    refused = client.post("/v1/models", json={"owner": "Ada", "colour": "red", "paper_url": "ftp://x"})
    assert refused.status_code == 422 and refused.json is not None
    assert {(entry["type"], entry["field"]) for entry in refused.json["invalid_fields"]} == {
        ("pattern", "owner"),
        ("required", "name"),
        ("additional_property_not_allowed", "colour"),
        ("format", "paper_url"),
    }
    assert "name is required." in refused.json["detail"]
