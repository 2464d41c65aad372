import re
from functools import cache
from typing import Any

import orjson
from flask import Flask, Response, request
from jsonschema import Draft202012Validator

from api.openapi import document

_known: dict[str, Any] = {}


def hold_to_description(app: Flask) -> None:
    """Every reply of the application must be one that its description promises."""

    def check(response: Response) -> Response:
        if request.url_rule is None or request.method in ("HEAD", "OPTIONS"):
            return response
        if not _known:
            _known.update(document(app, "0"))
            # Whoever makes types of the document would lose what a job shows and the document does not name.
            _known["components"]["schemas"]["JobObject"]["additionalProperties"] = False
        path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", request.url_rule.rule)
        item = _known["paths"].get(path)
        if item is None:  # a route of a test
            return response
        method = request.method.lower()
        operation = item.get(method) or item[f"x-{method}"]
        where = f"{request.method} {path}"
        status = str(response.status_code)
        if status == "500":
            return response
        assert status in operation["responses"], f"{where} does not say that it answers {status}"
        content = operation["responses"][status].get("content", {})
        if response.is_streamed or not (content or response.get_data()):
            return response
        assert response.mimetype in content, f"{where} does not say that it answers {status} with {response.mimetype}"
        if "json" in response.mimetype:
            errors = sorted(_validator(path, method, status, response.mimetype).iter_errors(_body(response)), key=str)
            assert not errors, f"{where} answers {status} otherwise than it says: {errors[0]}"
        return response

    app.after_request(check)


def _body(response: Response) -> Any:
    return orjson.loads(response.get_data())


@cache
def _validator(path: str, method: str, status: str, content_type: str) -> Draft202012Validator:
    item = _known["paths"][path]
    operation = item.get(method) or item[f"x-{method}"]
    schema = operation["responses"][status]["content"][content_type].get("schema", {})
    return Draft202012Validator({**schema, "components": _known["components"]})
