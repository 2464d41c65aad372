from collections.abc import Callable
from typing import Any

import pytest

from tests.compatibility.matrix import EXPECTED, SCRIPTS, cells_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

ADDRESSES = ("https", "http", "http/v1", "https/v1")


@pytest.mark.parametrize(
    ("script", "cell"),
    [(script, cell) for scripts in SCRIPTS.values() for script in scripts for cell in cells_of(script)],
)
@pytest.mark.parametrize("address", ADDRESSES)
def test_the_client_of(address: str, script: str, cell: str, answers: Callable[[str, str], dict[str, Any]]) -> None:
    found = answers(script, address)[cell]
    assert "raised" not in found, found["raised"]
    trains = cell == "training" and address == "https"
    assert found["answer"] == EXPECTED["training_to_its_end" if trains else cell]
