"""Makes the OpenAPI 3.1 document of the service from its routes and what ``describe`` says of them."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from werkzeug.routing import Rule

from api.auth import ANY_SCOPE, scope_of
from api.contract import Contract, Media, contract_of
from api.parameters import HEADERS, PATH, QUERY
from api.schemas.form import Problem

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM_TYPE = "application/problem+json"
_PARAMETER = re.compile(r"<(?:[^:>]+:)?([^>]+)>")
_WITHOUT = ("HEAD", "OPTIONS")
_KEY = "key"
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})  # of OpenAPI 3.1
_RETRY = {"Retry-After": {"description": "Whole seconds.", "schema": {"type": "integer", "minimum": 1, "maximum": 60}}}
_DESCRIPTION = (
    "Jobs for TensorFlow models: predictions, trainings, models, data sets. Native paths keep the wire contract of "
    "Replicate's HTTP API, so that its clients work unmodified. Errors are problem documents (RFC 9457)."
)


def document(app: Flask, version: str) -> dict[str, Any]:
    """The whole document, without servers.

    Args:
        app: The application whose routes are described.
        version: Version of the service.
    """
    routes = [(rule, method, view, contract) for rule, method, view, contract in described(app)]
    forms = _Forms(contract for _, _, _, contract in routes)
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    used: set[str] = set()
    links = [(rule, method, view) for rule, method, view, _ in routes if method.lower() in _METHODS]
    for rule, method, view, contract in routes:
        path = _PARAMETER.sub(r"{\1}", rule.rule)
        operation = _operation(rule, view, contract, forms)
        if operation["operationId"] in used:  # one view for several routes
            operation["operationId"] += f"_{method.lower()}"
        used.add(operation["operationId"])
        for status, form in contract.replies.items():
            if status == HTTPStatus.CREATED and (found := _links(rule, form, links)):
                operation["responses"][str(status)]["links"] = found
        tags.setdefault(operation["tags"][0], _sentence(sys.modules[view.__module__].__doc__)[0])
        if method.lower() in _METHODS:
            paths.setdefault(path, {})[method.lower()] = operation
        else:  # OpenAPI has no place for QUERY before 3.2
            paths.setdefault(path, {})[f"x-{method.lower()}"] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in sorted(tags.items())],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": forms.components, "securitySchemes": {_KEY: _security()}},
    }


def described(app: Flask) -> Iterator[tuple[Rule, str, Callable[..., Any], Contract]]:
    """Every route that was described, once for each method."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        contract = contract_of(view)
        if contract is not None:
            for method in sorted((rule.methods or set()).difference(_WITHOUT)):
                yield rule, method, view, contract


class _Forms:
    """The schemas of all forms, with references between them."""

    def __init__(self, contracts: Iterator[Contract] | Any) -> None:
        inputs: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = []
        for kind, mode in _kinds(contracts):
            entry = (kind, mode)
            if entry not in [(known, as_) for known, as_, _ in inputs]:
                inputs.append((kind, mode, TypeAdapter(kind)))
        schemas, shared = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
        self._schemas = schemas
        self.components: dict[str, Any] = dict(sorted(shared.get("$defs", {}).items()))

    def __call__(self, kind: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        """The schema of a form, mostly a reference."""
        return self._schemas[kind, mode]


def _kinds(contracts: Iterator[Contract]) -> Iterator[tuple[Any, JsonSchemaMode]]:
    yield Problem, "serialization"
    for contract in contracts:
        if contract.body is not None:
            yield contract.body, "validation"
        for media in contract.media:
            if media.form is not None:
                yield media.form, "validation"
        for reply in contract.replies.values():
            if reply is not None and not isinstance(reply, Media):
                yield reply, "serialization"


def _operation(rule: Rule, view: Callable[..., Any], contract: Contract, forms: _Forms) -> dict[str, Any]:
    summary, rest = _sentence(inspect.getdoc(view))
    scope = scope_of(view)
    operation: dict[str, Any] = {
        "operationId": view.__name__,
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary,
        **({"description": rest} if rest else {}),
        "security": [] if scope is None else [{_KEY: [scope] if scope != ANY_SCOPE else []}],
        "parameters": [
            *(_parameter(name, "path", PATH, is_required=True) for name in sorted(rule.arguments, key=rule.rule.find)),
            *(_parameter(name, "query", QUERY, is_required=name in contract.required) for name in contract.query),
            *(_parameter(name, "header", HEADERS) for name in contract.headers),
        ],
    }
    content = {kind: _media_schema(media, forms) for media in contract.media for kind in media.types.split(", ")}
    if contract.body is not None:
        content = {"application/json": {"schema": forms(contract.body, "validation")}, **content}
    if content:
        operation["requestBody"] = {"required": contract.is_body_required, "content": content}
    operation["responses"] = {str(status): reply for status, reply in _responses(rule, scope, contract, forms)}
    return operation


def _responses(
    rule: Rule, scope: str | None, contract: Contract, forms: _Forms
) -> Iterator[tuple[int, dict[str, Any]]]:
    for status, form in contract.replies.items():
        reply: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if isinstance(form, Media):
            reply["content"] = {kind: _media_schema(form, forms) for kind in form.types.split(", ")}
        elif form is not None:
            reply["content"] = {"application/json": {"schema": forms(form, "serialization")}}
        if status == HTTPStatus.CREATED:
            reply["headers"] = {"Location": {"description": "Where it is read.", "schema": {"type": "string"}}}
        yield status, reply
    problem = {_PROBLEM_TYPE: {"schema": forms(Problem, "serialization")}}
    for status in sorted(_errors(rule, scope, contract) - contract.replies.keys()):
        reply = {"description": HTTPStatus(status).phrase, "content": problem}
        if status in (429, 503):
            reply["headers"] = _RETRY
        yield status, reply


def _links(rule: Rule, form: Any, targets: list[tuple[Rule, str, Callable[..., Any]]]) -> dict[str, Any]:
    """What follows what was made: the routes of the same group whose path its keys fill, else those of jobs."""
    names: Mapping[str, str] = getattr(form, "path_names", {})
    links: dict[str, dict[str, Any]] = {}
    for group in (rule.endpoint.partition(".")[0], "jobs"):
        for target, _, view in targets:
            if target.endpoint.partition(".")[0] == group and names and target.arguments == names.keys():
                filled = {name: f"$response.body#/{key}" for name, key in names.items()}
                links[view.__name__] = {"operationId": view.__name__, "parameters": filled}
        if links:
            break
    return links


def _errors(rule: Rule, scope: str | None, contract: Contract) -> set[int]:
    errors = {int(status) for status in contract.errors}
    if scope is not None:
        errors |= {401, 403, 422, 429, 503}
    elif contract.query:
        errors.add(422)
    if rule.arguments:
        errors.add(404)
    if contract.body is not None or contract.media:
        errors |= {400, 413, 422}
    return errors


def _media_schema(media: Media, forms: _Forms) -> dict[str, Any]:
    if media.form is not None:
        return {"schema": forms(media.form, "validation")}
    return {"schema": {"type": "string"}} if media.types.startswith("text/html") else {}


def _parameter(
    name: str, place: str, table: Mapping[str, tuple[str, dict[str, Any]]], *, is_required: bool = False
) -> dict[str, Any]:
    text, schema = table[name]
    return {"name": name, "in": place, "required": is_required, "description": text, "schema": schema}


def _sentence(text: str | None) -> tuple[str, str]:
    first, _, rest = (text or "").strip().partition("\n\n")
    return " ".join(first.split()).replace("``", "`"), rest.replace("``", "`").strip()


def _security() -> dict[str, Any]:
    return {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of an account, `Authorization: Bearer hr_…`; `headrace keys create` makes one.",
    }
