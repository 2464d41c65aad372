"""A service of real processes whose streams show signs of life often."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.promises.conftest import Stack

HEARTBEAT_SECONDS = 2.0


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    stacks: list[Stack] = []

    def make(**environment: str) -> Stack:
        facts = {"HEADRACE_HTTP__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS), **environment}
        stacks.append(Stack(tmp_path / f"stack{len(stacks)}", **facts))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.close()


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """A service with an API and no worker yet."""
    made = make_stack()
    made.start_api()
    return made
