from pathlib import Path

import pytest

PACKAGES = ("api", "workers", "shared", "cli")


@pytest.fixture
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture
def sources(root: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
