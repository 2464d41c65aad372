import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from api import create_app
from cli.__main__ import headrace
from shared.errors import JobError, ServiceError
from shared.settings import PREFIX, Settings

PROMISES = {
    1: "No job is ever stuck",
    2: "One effect",
    3: "Cancel always works",
    4: "A batch changes no answer",
    5: "Limits are in rows and bytes",
    6: "Overload is a fast 429",
    7: "Expired work is never computed",
    8: "A new version causes no latency spike and no wrong-version answer",
    9: "An interrupted training equals an uninterrupted one",
    10: "Which version answered, trained on which data, promoted by whom and when",
    11: "Deleted means deleted",
    12: "Stock clients work unmodified",
}


def subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def settings_table() -> str:
    def default(value: Any) -> str:
        if isinstance(value, str):
            return f"`{value}`" if value else "empty"
        if value is None:
            return "none"
        if isinstance(value, tuple):
            return "`" + json.dumps(value) + "`"
        return f"`{int(value)}`" if isinstance(value, float) and value.is_integer() else f"`{value}`"

    def row(variable: str, field: FieldInfo, value: Any) -> str:
        return f"| `{variable}` | {default(value)} | {' '.join((field.description or '').split()).replace('``', '`')} |"

    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        group = field.default
        if not isinstance(group, BaseModel):
            rows.append(row(PREFIX + name.upper(), field, str(group)))
            continue
        for leaf, inner in type(group).model_fields.items():
            rows.append(row(f"{PREFIX}{name}__{leaf}".upper(), inner, getattr(group, leaf)))
    return "\n".join(rows)


def test_every_setting_says_what_it_is_and_stands_in_the_readme(root: Path) -> None:
    for group in (Settings, *(type(field.default) for field in Settings.model_fields.values())):
        if issubclass(group, BaseModel):
            for name, field in group.model_fields.items():
                nested = isinstance(field.default, BaseModel)
                assert nested or field.description, f"{group.__name__}.{name} has no docstring"
    readme = (root / "README.md").read_text()
    table = readme.partition("<!-- settings -->\n")[2].partition("\n<!-- end of settings -->")[0]
    expected = settings_table()
    assert table == expected, f"Between the settings marks of README.md should stand:\n\n{expected}"


def test_every_code_of_an_error_is_documented(root: Path) -> None:
    documented = (root / "docs" / "errors.md").read_text()
    services = {cls.code for cls in (ServiceError, *subclasses(ServiceError))}
    missing = {code for code in services if f"`{code}`" not in documented}
    sources = [
        path for package in ("api", "workers", "shared") for path in (root / package).rglob("*") if path.is_file()
    ]
    stored = {cls.code for cls in (JobError, *subclasses(JobError))}
    for path in sources:
        if path.suffix in (".py", ".lua"):
            stored |= set(re.findall(r"\bE1\d{3}\b", path.read_text()))
    missing |= {code for code in stored if f"`{code}`" not in documented}
    assert not missing
    assert set(re.findall(r"`(E1\d{3})`", documented)) == stored, "docs/errors.md has codes that nothing stores"


def test_every_route_is_documented(root: Path, settings: Settings) -> None:
    app = create_app(settings, sweeps=False)
    app.extensions["headrace"].waiting.stop()
    app.extensions["headrace"].redis.close()
    routes = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)
        routes |= {f"{method} {path}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", (root / "docs" / "http.md").read_text(), re.MULTILINE))
    assert documented == routes


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "CONTRIBUTING.md", "examples/README.md"])
def test_the_commands_that_a_document_shows_exist(root: Path, document: str) -> None:
    for line in re.findall(r"^\s*(?:\.venv/bin/)?(headrace .*)$", (root / document).read_text(), re.MULTILINE):
        words = re.sub(r"\s#.*|[|&].*", "", line).split()[1:]
        command: click.Command = headrace
        while isinstance(command, click.Group):
            assert words and words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= options | {"--help"}, line


def test_make_lists_every_target_that_the_documents_name(root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (root / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z-]+)`", (root / document).read_text()))
        assert named <= targets, document
    assert {"help", "demo", "test", "test-long", "soak", "bench", "lint", "format", "up", "clean"} <= targets


def test_every_promise_stands_in_the_readme_with_its_state(root: Path) -> None:
    readme = (root / "README.md").read_text()
    for number, words in PROMISES.items():
        state = re.search(rf"^\| {number} \| \*\*{re.escape(words)}.*\| (kept|not yet)", readme, re.MULTILINE)
        assert state, f"promise {number} has no row, or no state"
        name = words.lower().removeprefix("a ").replace(" ", "_")
        has_test = any((root / "tests").rglob(f"test_{number}_*.py")) or any((root / "tests").rglob(f"test_{name}.py"))
        assert has_test or state[1] == "not yet", f"promise {number} is said to be kept, and no test is named after it"


def test_every_link_of_the_documents_leads_somewhere(root: Path) -> None:
    documents = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "examples").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"
