import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from PIL import Image

from shared.models.signature import Signature
from tests.browser import browser_at
from tests.compatibility.certificate import make_certificate
from tests.compatibility.service import SIGNATURES, Service

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
PICTURE = "unseen/circle/0000.png"
ANSWER = "circle (1.00)"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the model of the stories, which calls dark pictures circles."""
    openssl = shutil.which("openssl")
    if openssl is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("openssl is not installed")
    folder = tmp_path_factory.mktemp("examples")
    made = Service(folder, make_certificate(folder / "tls", str(openssl)))
    try:
        made.registry.ensure_model("me", "shapes")
        (folder / "model.keras").write_text("shapes")
        version = made.registry.publish(
            "me",
            "shapes",
            {"model.keras": folder / "model.keras"},
            created_at="2026-01-01T00:00:00.000Z",
            source="import",
            job_id="tests",
            signature=Signature.from_json(SIGNATURES["image"]),
            labels=("circle", "square"),
        )
        made.registry.move_alias("me", "shapes", "production", version.id, "tests")
        made.start()
        yield made
    finally:
        made.close()


class Story:
    """An example's folder beside a picture, where the commands of its README are run as they stand."""

    def __init__(self, name: str, folder: Path, url: str, key: str) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "examples" / name, folder / "examples" / name)
        (folder / PICTURE).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (0, 0, 0)).save(folder / PICTURE)
        readme = (folder / "examples" / name / "README.md").read_text()
        self.blocks: list[str] = re.findall(r"^```\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "REPLICATE_"))}
        self.environment = {**own, "REPLICATE_BASE_URL": url, "REPLICATE_API_TOKEN": key}

    def run(self, block: int) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.blocks[block]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    @contextmanager
    def running(self, block: int, url: str) -> Iterator[Path]:
        """Runs what stays, until an address answers; yields what it prints."""
        printed = self.folder / f"printed-{block}"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self.blocks[block]],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until = time.monotonic() + 240
            while not answers(url):
                assert process.poll() is None and time.monotonic() < until, printed.read_text()
                time.sleep(0.1)
            yield printed
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


@pytest.fixture
def story(service: Service, tmp_path: Path) -> Callable[..., Story]:
    def make(name: str, url: str = "") -> Story:
        return Story(name, tmp_path, url or service.urls["http"], service.key("me"))

    return make


def answers(url: str) -> bool:
    try:
        requests.get(url, timeout=5)
    except requests.ConnectionError:
        return False
    return True


def test_the_python_client_asks_as_its_readme_says(story: Callable[..., Story]) -> None:
    assert story("python_client").run(0).splitlines()[-1] == f"{PICTURE}: {ANSWER}"


def test_the_javascript_client_asks_as_its_readme_says(
    story: Callable[..., Story], needs: Callable[[str], str]
) -> None:
    needs("node"), needs("npm")
    assert story("javascript_client").run(0).splitlines()[-1] == f"{PICTURE}: {ANSWER}"


def test_the_webhook_receiver_hears_of_a_job(story: Callable[..., Story], eventually: Callable[..., object]) -> None:
    told = story("webhook_receiver")
    with told.running(0, "http://127.0.0.1:8099/") as printed:
        forged = requests.post("http://127.0.0.1:8099/hook", json={"id": "x"}, timeout=10)
        assert forged.status_code == 401
        assert '"status":"starting"' in told.run(1)
        eventually(lambda: " succeeded: {" in printed.read_text() and "circle" in printed.read_text(), 60)
        assert printed.read_text().count(" succeeded: ") == 1


def test_the_page_shows_answers_as_they_come(
    story: Callable[..., Story], service: Service, needs: Callable[[str], str], tmp_path: Path
) -> None:
    chromium = needs("chromium")
    readme = (ROOT / "examples" / "browser_page" / "README.md").read_text()
    origins = re.search(r"HEADRACE_HTTP__CORS_ORIGINS='([^']+)' \.venv/bin/headrace up", readme)
    assert origins
    told = story("browser_page", service.start_api("pages", HEADRACE_HTTP__CORS_ORIGINS=origins[1]))
    second = told.folder / "unseen" / "circle" / "0001.png"
    Image.new("RGB", (8, 8), (255, 255, 255)).save(second)
    with told.running(1, "http://127.0.0.1:8098/"), browser_at(chromium, tmp_path / "profile") as browser:
        page = browser.page()
        page.open("http://127.0.0.1:8098/")
        page.wait_for("document.readyState === 'complete' && document.getElementById('files') !== null")
        document = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=document, selector="#files")["nodeId"]
        page.call("DOM.setFileInputFiles", files=[str(told.folder / PICTURE), str(second)], nodeId=node)
        page.wait_for("document.getElementById('state').innerText")
        assert page.evaluate("document.getElementById('state').innerText") == "Done.", page.errors
        lines = page.evaluate("[...document.querySelectorAll('#answers li')].map((line) => line.innerText)")
        assert lines == [f"0000.png: {ANSWER}", "0001.png: square (1.00)"]
        assert page.errors == []
