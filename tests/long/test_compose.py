import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

SERVICES = ("api", "inference", "training", "preparing", "io")
TINY_MODEL = """
import sys
import keras
import numpy as np
model = keras.Sequential([
    keras.layers.Input((8, 8, 3)),
    keras.layers.Rescaling(1 / 255),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(2, activation="softmax"),
])
model.layers[-1].set_weights([np.array([[-9.0, 9.0]] * 3), np.array([13.5, -13.5])])
model.save(sys.argv[1])
"""


@dataclass(frozen=True)
class Compose:
    program: Path
    folder: Path
    port: int

    def __call__(self, *words: str, check: bool = True, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        # The settings of the build are those of this machine, which has no registry of images.
        build = "--network host --pull=never --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        build += " -v /etc/ssl/certs:/etc/ssl/certs:ro"
        if Path("/etc/pip.conf").exists():
            build += " -v /etc/pip.conf:/etc/pip.conf:ro"
        command = [str(self.program), "-p", "headrace-test", f"--podman-build-args={build}", *words]
        environment = {**os.environ, "PUBLISH": f"127.0.0.1:{self.port}", "PUBLIC_URL": self.url}
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert not check or result.returncode == 0, f"{words}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def compose(
    root: Path,
    checkout: Callable[[Path], Path],
    unless_ci: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Compose]:
    setup = root.parent / "shared" / "containers" / "setup.sh"
    if not setup.exists():
        unless_ci("no container engine is set up: there is no shared/containers beside this checkout")
    if os.geteuid() != 0:
        unless_ci("the container engine here needs root")
    subprocess.run([str(setup)], check=True, capture_output=True, timeout=900)
    tools = tmp_path_factory.mktemp("tools")
    venv.create(tools, with_pip=True)
    pip = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "podman-compose==1.6.0"], check=True, capture_output=True, timeout=300)

    folder = checkout(tmp_path_factory.mktemp("headrace"))
    subprocess.run([str(folder / "deploy" / "make-secrets")], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    compose = Compose(tools / "bin" / "podman-compose", folder, port)
    compose("down", "-v", check=False)
    compose("build", seconds=1200)
    try:
        compose("up", "-d", "--no-build")
        yield compose
    finally:
        logs = "".join(compose("logs", service, check=False).stdout for service in ("redis", *SERVICES))
        print(logs[-20_000:])
        compose("down", "-v", check=False)


@pytest.fixture(scope="module")
def key(compose: Compose) -> str:
    shown = compose("run", "--rm", "-T", "api", "headrace", "keys", "create", "--account", "test").stdout
    return next(line.strip() for line in shown.splitlines() if line.startswith("hr_"))


def test_one_prediction_goes_through_all_of_it(
    compose: Compose, key: str, tmp_path: Path, eventually: Callable[..., object]
) -> None:
    def is_ready() -> bool:
        try:
            return requests.get(f"{compose.url}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    eventually(is_ready, 120, "the API")
    model = tmp_path / "tiny.keras"
    subprocess.run([sys.executable, "-c", TINY_MODEL, str(model)], check=True, capture_output=True)
    push = [str(Path(sys.executable).with_name("headrace")), "models", "push", str(model), "--name", "test/tiny"]
    push += ["--labels", "dark,bright", "--alias", "production"]
    client = {"HEADRACE_CLIENT__URL": compose.url, "HEADRACE_CLIENT__API_KEY": key}
    pushed = subprocess.run(
        push, env={**os.environ, **client}, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr

    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=60"}

    def shown(path: str) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{compose.url}/v1{path}", headers=headers, timeout=90).json()
        return found

    def is_promoted() -> bool:
        return shown("/models/test/tiny/aliases/production")["version"] is not None

    # The alias moves as soon as the inference worker has loaded the version and warmed it up.
    eventually(is_promoted, 120, "the promotion")
    name = shown("/models/test/tiny")["latest_version"]["signature"]["inputs"][0]["name"]
    for brightness, label in ((255, "bright"), (0, "dark")):
        body = {"input": {name: png(brightness)}}
        reply = requests.post(f"{compose.url}/v1/models/test/tiny/predictions", json=body, headers=headers, timeout=90)
        job = reply.json()
        assert reply.status_code == 201, job
        while job["status"] in ("starting", "processing"):
            job = shown(f"/predictions/{job['id']}?wait=60")
        assert job["status"] == "succeeded", job
        assert job["output"]["label"] == label
        assert job["urls"]["get"].startswith(compose.url)


def png(brightness: int) -> str:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (brightness,) * 3).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def test_the_image_of_the_api_holds_no_tensorflow(compose: Compose) -> None:
    code = "import importlib.util as u, api; print([m for m in ('tensorflow', 'keras', 'numpy') if u.find_spec(m)])"
    for service in ("api", "io"):
        assert compose("exec", "-T", service, "python", "-c", code).stdout.strip() == "[]"
    assert compose("exec", "-T", "inference", "python", "-c", code.replace(", api", "")).stdout.strip() != "[]"


def test_nothing_of_ours_runs_as_root(compose: Compose) -> None:
    for service in SERVICES:
        assert compose("exec", "-T", service, "id", "-u").stdout.strip() == "10001"


def test_redis_has_a_password_and_no_published_port(compose: Compose) -> None:
    podman = shutil.which("podman")
    assert podman is not None
    names = subprocess.run([podman, "ps", "--format", "{{.Names}}"], capture_output=True, text=True, check=True).stdout
    redis = next(name for name in names.split() if "redis" in name and name.startswith("headrace-test"))
    assert subprocess.run([podman, "port", redis], capture_output=True, text=True, check=False).stdout == ""
    assert "NOAUTH" in compose("exec", "-T", "redis", "redis-cli", "ping").stdout
    password = (compose.folder / "deploy" / "secrets" / "redis.conf").read_text().split("requirepass ")[1].split()[0]
    shown = subprocess.run([podman, "top", redis, "args"], capture_output=True, text=True, check=True).stdout
    assert password not in shown
