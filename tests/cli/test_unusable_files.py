import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LATIN = "Häuser".encode("latin-1")

# Root reads everything, by two capabilities: without them the commands see what any other user sees. A user who is not
# root has nothing to give up, and where the system knows no capabilities, the tests need such a user.
AS_ANY_USER = """
import ctypes, os, sys
for capability in (1, 2) if sys.platform == "linux" else ():
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "cli", *sys.argv[1:]])
"""


@pytest.fixture
def typed(tmp_path: Path, server: Any, reply: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the real command line as a user who may not read everything, against a server that knows the key."""
    server.answer = lambda request: reply({"username": "me", "results": [], "next": None})

    def run(*arguments: object, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        own |= {"HEADRACE_CLIENT__URL": server.url, "HEADRACE_DATA_DIR": str(tmp_path / "data"), **environment}
        command = [sys.executable, "-c", AS_ANY_USER, *map(os.fsencode, map(str, arguments))]
        return subprocess.run(
            command, env=own, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )

    return run


def push_with_labels_in_latin(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    (folder / "cats.keras").write_bytes(b"keras")
    labels = folder / "labels.txt"
    labels.write_bytes(LATIN)
    arguments = ["models", "push", folder / "cats.keras", "--name", "me/cats", "--labels-file", labels]
    return arguments, {}, labels, "save it as UTF-8"


def list_without_the_authorities(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    missing = folder / "ca.pem"
    environment = {"HEADRACE_CLIENT__URL": "https://127.0.0.1:9", "HEADRACE_CLIENT__CA_FILE": str(missing)}
    return ["models", "list"], environment, missing, "set HEADRACE_CLIENT__CA_FILE to a PEM file"


def list_with_authorities_that_are_none(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    arguments, environment, file, advice = list_without_the_authorities(folder, server)
    file.write_text("no certificate")
    return arguments, environment, file, advice


def list_without_the_own_certificate(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    missing = folder / "own.pem"
    (folder / "address").write_text("https://127.0.0.1:9")
    (folder / "api-key").write_text("hr_x")
    names = ("HEADRACE_HTTP__TLS_CERTIFICATE", "HEADRACE_HTTP__TLS_KEY")
    environment = {"HEADRACE_CLIENT__URL": "", "HEADRACE_CLIENT__API_KEY": "", **dict.fromkeys(names, str(missing))}
    return ["models", "list", "--data-dir", folder], environment, missing, f"set {names[0]} to a PEM file"


def list_in_a_folder_of_another(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    data = folder / "data"
    data.mkdir(mode=0o400)  # its names may be read, nothing in it; without that much Click refuses it
    return ["models", "list", "--data-dir", data], {}, data / "address", "give this user the right to it"


def list_with_a_key_in_latin(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    (folder / "address").write_text(server.url)
    (folder / "api-key").write_bytes(LATIN)
    environment = {"HEADRACE_CLIENT__URL": "", "HEADRACE_CLIENT__API_KEY": ""}
    return ["models", "list", "--data-dir", folder], environment, folder / "api-key", "save it as UTF-8"


def push_a_folder_with_a_file_of_another(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    file = folder / "pets" / "cat" / "1.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PNG")
    file.chmod(0)
    return ["datasets", "push", folder / "pets", "--name", "pets"], {}, file, "give this user the right to it"


def push_with_a_typed_label_in_latin(folder: Path, server: Any) -> tuple[list[Any], dict[str, str], Path, str]:
    (folder / "cats.keras").write_bytes(b"keras")
    arguments = ["models", "push", folder / "cats.keras", "--name", "me/cats", "--labels", os.fsdecode(LATIN)]
    return arguments, {}, Path("A name or a text"), "write it in UTF-8"


@pytest.mark.parametrize(
    "case",
    [
        push_with_labels_in_latin,
        list_without_the_authorities,
        list_with_authorities_that_are_none,
        list_without_the_own_certificate,
        list_in_a_folder_of_another,
        list_with_a_key_in_latin,
        push_a_folder_with_a_file_of_another,
        push_with_a_typed_label_in_latin,
    ],
    ids=lambda case: case.__name__,
)
def test_a_file_that_cannot_be_used_is_one_sentence_with_its_name_and_what_to_do(
    case: Callable[..., Any], typed: Callable[..., Any], tmp_path: Path, server: Any
) -> None:
    arguments, environment, file, advice = case(tmp_path, server)
    result = typed(*arguments, **{"HEADRACE_CLIENT__API_KEY": "hr_test", **environment})
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    assert str(file) in result.stderr and advice in result.stderr


def test_a_reader_that_has_gone_away_is_no_failure(typed: Callable[..., Any]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = typed("models", "list", "--json", HEADRACE_CLIENT__API_KEY="hr_test", stdout=writing)
    os.close(writing)
    assert result.stderr == ""
