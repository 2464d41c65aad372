"""One service over HTTP and HTTPS, and what the stock clients answered when their scripts asked it for every cell.

Each client runs in an interpreter of its own, once for each address; all tests read what it printed.
"""

import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.compatibility.certificate import make_certificate
from tests.compatibility.environments import CLIENTS, node_modules, python_with
from tests.compatibility.receiver import Receiver
from tests.compatibility.service import ROWS_OF_AN_ACCOUNT, Service

AT_ONCE = 4
SECONDS = 280
LISTED = 120


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    return val if isinstance(val, str) else None


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Path of a program; without it the test is skipped at home and fails under CI."""
    import shutil

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
        assert path is not None
        return path

    return find


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("compatibility")
    made = Service(folder, make_certificate(folder / "tls", program("openssl")))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def dataset(service: Service) -> str:
    """A data set of 24 images in two classes."""
    file = io.BytesIO()
    labels = np.arange(24) % 2
    np.savez(file, x=np.repeat(labels * 255, 64).reshape(24, 8, 8).astype(np.uint8), y=labels)
    key = service.key("teacher")
    reply = requests.post(
        service.urls["http"] + "/v1/datasets",
        files={"file": ("images.npz", file.getvalue())},
        data={"name": "images"},
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert reply.status_code == 201, reply.text
    path = f"/v1/jobs/{reply.json()['id']}?wait=50"
    job = service.call(key, "GET", path).json()
    assert job["status"] == "succeeded", job
    return "images"


@pytest.fixture(scope="session")
def lister(service: Service) -> str:
    """A key of an account that has more than one page of predictions."""
    key = service.key("lister")
    for number in range(LISTED):
        body = {"input": {"prompt": str(number)}}
        assert service.call(key, "POST", "/v1/models/stock/text/predictions", body).status_code == 201
    return key


@pytest.fixture(scope="session")
def full(service: Service) -> str:
    """A key of an account whose open jobs have as many rows as they may."""
    key = service.key("full")
    body = {"input": {"prompt": [""] * (ROWS_OF_AN_ACCOUNT // 2)}}
    for _ in range(2):
        assert service.call(key, "POST", "/v1/deployments/stock/idle/predictions", body).status_code == 201
    return key


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="session")
def tell(
    service: Service, dataset: str, lister: str, full: str, receiver: Receiver, program: Callable[[str], str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a client's script and tells it what to ask."""

    def run(script: str, name: str, url: str, **facts: Any) -> subprocess.CompletedProcess[str]:
        told: dict[str, Any] = {
            "name": name,
            "url": url,
            "account": name,
            "key": service.key(name),
            "versions": service.versions,
            "dataset": dataset,
            "lister": lister,
            "other": service.key(f"{name}-files"),
            "receiver": receiver.url,
            "gates": str(service.gates),
            # Of outputs that are files: stock clients make no file objects of http: URLs.
            "file_scheme": "https" if url.startswith("https:") else "data",
            "full": full,
            "trains": False,
            "cells": [],
            **facts,
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "REPLICATE_"))}
        certificate = str(service.certificate[0])
        environment = {**kept, "SSL_CERT_FILE": certificate, "NODE_EXTRA_CA_CERTS": certificate}
        if script.endswith(".mjs"):
            told["modules"] = str(node_modules(program("npm")))
            command = [program("node"), str(CLIENTS / script)]
        else:
            which = "requirements-2.txt" if "_2" in script else "requirements-1.txt"
            command = [str(python_with(which)), "-W", "ignore", str(CLIENTS / script)]
        return subprocess.run(
            command, input=json.dumps(told), capture_output=True, text=True, timeout=SECONDS, env=environment
        )

    return run


@pytest.fixture(scope="session")
def answers(
    request: pytest.FixtureRequest, service: Service, tell: Callable[..., subprocess.CompletedProcess[str]]
) -> Iterator[Callable[[str, str], dict[str, Any]]]:
    """What a client answered over an address: by script and by address, ``http``, ``http/v1`` and so on."""

    def ask(script: str, address: str) -> dict[str, Any]:
        scheme, _, version = address.partition("/")
        url = service.urls[scheme] + ("/v1" if version else "")
        name = f"{Path(script).stem.replace('_', '-')}-{address.replace('/', '-')}"
        done = tell(script, name, url, trains=address == "https")
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    pairs = {
        (item.callspec.params["script"], item.callspec.params["address"]): None
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "address" in item.callspec.params
    }
    # Those that train first, since they take longest.
    order = sorted(pairs, key=lambda pair: pair[1] != "https")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked: dict[tuple[str, str], Future[dict[str, Any]]] = {pair: pool.submit(ask, *pair) for pair in order}
        yield lambda script, address: asked[script, address].result(SECONDS)
        for future in asked.values():
            future.cancel()
