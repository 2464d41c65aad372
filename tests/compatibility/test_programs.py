import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compatibility.environments import node_modules, python_with
from tests.compatibility.receiver import Receiver
from tests.compatibility.service import Service

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).parent / "programs"
PRINTED = {
    "tutorial_1.py": """\
ASTRONAUT RIDING A ROCKET
failed failed
['UNICORN 0', 'UNICORN 1', 'UNICORN 2', 'UNICORN 3']
A HAIKU ABOUT LLAMAS
ANOTHER HAIKU
starting None
succeeded IN THE BACKGROUND
canceled
True None
True
headrace
['cpu']
bright
['IN', 'A', 'ROW']
""",
    "tutorial_2.py": """\
['CHAINED', 'MODELS']
'' WITHOUT WAITING
BIT|BY|BIT|
CITY AT SUNSET
True
ASTRONAUT
NO WAIT
failed failed
image/png
bright
False None
422 Invalid version or not permitted
True
['OLD', 'STYLE']
""",
    "tutorial.mjs": """\
A RACCOON GENTLEMAN
succeeded A CAT
bright
succeeded null
succeeded null
output: A HAIKU.
done: .
true
true
[ 'cpu' ]
""",
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", PRINTED)
def test_a_program_written_against_replicate_changes_one_address_and_works(
    name: str, scheme: str, service: Service, receiver: Receiver, program: Callable[[str], str], tmp_path: Path
) -> None:
    image = tmp_path / "bright.png"
    image.write_bytes(receiver.image)
    if name.endswith(".mjs"):
        (tmp_path / "node_modules").symlink_to(node_modules(program("npm")) / "node_modules")
        # Node looks for packages beside the program.
        (tmp_path / name).write_text((PROGRAMS / name).read_text())
        command = [program("node"), str(tmp_path / name), str(image), str(tmp_path / "output.json")]
    else:
        which = "requirements-1.txt" if name == "tutorial_1.py" else "requirements-2.txt"
        command = [str(python_with(which)), str(PROGRAMS / name), str(image)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "REPLICATE_"))}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **kept,
            "REPLICATE_API_TOKEN": service.key(f"program-{name.replace('_', '-').partition('.')[0]}-{scheme}"),
            "REPLICATE_BASE_URL": service.urls[scheme],
            "ADDRESS": service.urls[scheme] + "/v1",
            "SSL_CERT_FILE": str(service.certificate[0]),
            "NODE_EXTRA_CA_CERTS": str(service.certificate[0]),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED[name]
