import re
from pathlib import Path

import pytest

from tests.compatibility.environments import CLIENTS
from tests.compatibility.matrix import EXPECTED, ONLY, QUIRKS, SCRIPTS, cells_of


@pytest.mark.parametrize("client", SCRIPTS)
def test_each_client_has_every_cell_of_the_matrix_and_no_other(client: str) -> None:
    expected = [cell for cell in EXPECTED if cell != "training_to_its_end" and client in ONLY.get(cell, SCRIPTS)]
    assert sorted(cell for script in SCRIPTS[client] for cell in cells_of(script)) == sorted(expected)


@pytest.mark.parametrize("script", sorted(path.name for path in CLIENTS.glob("quirks_*")))
def test_each_quirk_of_a_client_is_asked_for(script: str) -> None:
    assert sorted(cells_of(script)) == sorted(cell for of, cell, _ in QUIRKS if of == script)


def test_every_script_belongs_to_a_client() -> None:
    scripts = {path.name for pattern in ("re*_*.py", "re*_*.mjs", "quirks_*") for path in CLIENTS.glob(pattern)}
    assert scripts == {script for of in SCRIPTS.values() for script in of} | {script for script, _, _ in QUIRKS}


def test_the_list_of_what_is_tried_names_every_cell() -> None:
    listed = set(re.findall(r"`(\w+)`", (Path(__file__).parent / "README.md").read_text()))
    assert not EXPECTED.keys() - listed - {"training_to_its_end"}
