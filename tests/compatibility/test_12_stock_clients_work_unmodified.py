import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.compatibility.environments import CLIENTS
from tests.compatibility.matrix import EXPECTED

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

SCRIPTS = (
    "replicate_1.py",
    "replicate_2.py",
    "replicate_js.mjs",
    "resources_1.py",
    "resources_2.py",
    "resources_js.mjs",
)
ADDRESSES = ("https", "http", "http/v1", "https/v1")


def cells_of(script: str) -> list[str]:
    text = (CLIENTS / script).read_text()
    return re.findall(r"^@cell\n(?:async )?def (\w+)|^  (?:async )?(\w+)(?:: |\()", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "cell"),
    [(script, first or second) for script in SCRIPTS for first, second in cells_of(script)],
)
@pytest.mark.parametrize("address", ADDRESSES)
def test_the_client_of(address: str, script: str, cell: str, answers: Callable[[str, str], dict[str, Any]]) -> None:
    found = answers(script, address)[cell]
    assert "raised" not in found, found["raised"]
    trains = cell == "training" and address == "https"
    assert found["answer"] == EXPECTED["training_to_its_end" if trains else cell]
