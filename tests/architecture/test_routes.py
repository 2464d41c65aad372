import ast
import inspect
import textwrap
from collections.abc import Iterator

import pytest
from flask import Flask

from api import create_app
from api.contract import contract_of
from api.openapi import document
from api.parameters import HEADERS, PATH, QUERY
from shared.settings import Settings


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings, sweeps=False)
    yield app
    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()


def test_every_route_says_what_it_takes_and_answers(app: Flask) -> None:
    without = [rule.rule for rule in app.url_map.iter_rules() if contract_of(app.view_functions[rule.endpoint]) is None]
    assert not without, "describe() is missing at these"


def test_every_parameter_is_described_and_every_description_is_of_one(app: Flask) -> None:
    contracts = [contract_of(view) for view in app.view_functions.values()]
    described = [contract for contract in contracts if contract is not None]
    assert {name for rule in app.url_map.iter_rules() for name in rule.arguments} == PATH.keys()
    assert {name for contract in described for name in contract.query} == QUERY.keys()
    assert {name for contract in described for name in contract.headers} == HEADERS.keys()


def test_a_view_reads_its_body_by_the_form_that_it_names(app: Flask) -> None:
    for name, view in app.view_functions.items():
        contract = contract_of(view)
        read = set()
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(view)))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("read_as"):
                read.add(ast.unparse(node.args[0]))
        if read:
            assert contract is not None and contract.body is not None, name
            assert read == {contract.body.__name__}, name


def test_the_document_has_every_route_and_each_says_what_it_is(app: Flask) -> None:
    paths = document(app, "0")["paths"]
    operations = [operation for item in paths.values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith("."), operation["operationId"]
        assert operation["responses"], operation["operationId"]
