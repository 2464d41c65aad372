import json
import re
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"


@pytest.mark.parametrize("name", ["requirements-1.txt", "requirements-2.txt"])
def test_the_clients_of_python_are_pinned_exactly(name: str) -> None:
    lines = (CLIENTS / name).read_text().splitlines()
    assert lines and all(re.fullmatch(r"[A-Za-z0-9_-]+==[A-Za-z0-9.]+", line) for line in lines)


def test_the_lock_file_of_npm_has_digests_and_names_no_host() -> None:
    text = (CLIENTS / "package-lock.json").read_text()
    assert "resolved" not in text and "://" not in re.sub(r'"url": "[^"]*"', "", text)
    packages = json.loads(text)["packages"]
    assert all(package["integrity"].startswith("sha512-") for name, package in packages.items() if name)
    assert packages["node_modules/replicate"]["version"] == "1.4.0"


def test_the_documentation_names_the_versions_that_are_tested() -> None:
    document = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    for name in ("requirements-1.txt", "requirements-2.txt"):
        [version] = re.findall(r"^replicate==(.*)$", (CLIENTS / name).read_text(), re.MULTILINE)
        assert version in document
