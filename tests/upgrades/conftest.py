"""A service whose processes can be stopped and started one by one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.upgrades.site import Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**environment: str) -> Site:
        facts = {"HEADRACE_OUTGOING__ALLOWED_NETWORKS": '["127.0.0.0/8"]', **environment}
        sites.append(Site(tmp_path / f"site{len(sites)}", **facts))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A service with no process but Redis yet."""
    return make_site()
