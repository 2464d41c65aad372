import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from shared.http_client import lane_of
from tests.promises.conftest import HOLD, MODEL, PLAIN
from tests.promises.test_1_fetched_inputs import submit
from tests.promises.test_2_one_webhook_id import end_jobs
from tests.receivers import Receiver, answer
from tests.shared.outbound.servers import Listener
from tests.streams.reader import Reader
from tests.upgrades.site import Site

MAKE_MODEL = """
import sys, keras
keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")]).save(sys.argv[1])
"""


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(behaviour: Any) -> Receiver:
        made.append(Receiver(behaviour))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


def test_a_stopping_api_answers_whom_it_holds_ends_its_streams_and_is_gone(site: Site) -> None:
    site.start_all("api-1")
    held: list[requests.Response] = []

    def post(value: int) -> None:
        held.append(
            site.call("POST", f"/v1/models/{MODEL}/predictions", {"input": {"x": [value, PLAIN]}}, Prefer="wait=50")
        )

    threads = [threading.Thread(target=post, args=(value,)) for value in range(12)]
    for thread in threads:
        thread.start()
    site.wait(lambda: len(site.call("GET", "/v1/predictions").json()["results"]) == 12, "twelve jobs")
    job = site.post([1, PLAIN])
    readers = [Reader(f"{site.url}/v1/jobs/{job['id']}/events", site.key) for _ in range(4)]
    for reader in readers:
        reader.wait(lambda reader=reader: reader.events)  # type: ignore[misc]
    assert site.stop("api-1") < 5
    for thread in threads:
        thread.join(5)
    assert [(reply.status_code, reply.json()["status"]) for reply in held] == [(201, "starting")] * 12
    for reader in readers:
        reader.end(5)
        assert reader.said == [("status", "starting")]


@pytest.mark.long
def test_a_stopping_inference_worker_answers_its_batch_and_hands_back_what_it_took_ahead(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(
        HEADRACE_BATCHING__MAX_BATCH_ROWS="1", HEADRACE_BATCHING__ALLOWED_BATCH_SIZES="[1]",
        HEADRACE_INFERENCE__SLICE_SECONDS="60", HEADRACE_QUEUE__LEASE_SECONDS="30",
    )  # fmt: skip
    site.start_all("api-1")
    first, second = site.post([1, HOLD]), site.post([2, HOLD])
    site.launch("inference-1")
    site.signaled("holding-1")
    site.wait(lambda: site.get(second["id"])["status"] == "processing", "the second job, taken ahead")
    site.members["inference-1"].terminate()
    site.wait(lambda: "Warm shutdown" in (site.folder / "inference-1.log").read_text(), "the signal")
    site.let_go()
    site.stop("inference-1")
    assert (site.get(first["id"])["status"], site.get(first["id"])["attempt"]) == ("succeeded", 1)
    waiting = site.get(second["id"])
    assert (waiting["status"], waiting["attempt"]) == ("starting", 1)
    assert not (site.signals / "holding-2").exists()
    # Not by the end of a lease, which is longer than this.
    site.start_all("inference-2")
    assert site.ended(second["id"], 20)["attempt"] == 2


@pytest.mark.long
def test_a_stopping_io_worker_ends_its_delivery_and_hands_its_download_over(
    make_site: Callable[..., Site], receive: Callable[..., Receiver]
) -> None:
    site = make_site()
    begun = threading.Event()

    def slowly(receiver: Receiver, sock: Any, before: int) -> None:
        begun.set()
        time.sleep(1)
        answer(200)(receiver, sock, before)

    receiver = receive(slowly)
    png = b"\x89PNG\r\n\x1a\n" + bytes(5000)

    def stalls_once(sock: Any) -> None:
        listener.hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(png) + png[:3000])
        if len(listener.requests) > 1:
            sock.sendall(png[3000:])
        else:
            listener.over.wait(20)

    listener = Listener(stalls_once)
    try:
        job = submit(site, f"http://127.0.0.1:{listener.port}/image.png")
        end_jobs(site, receiver.url, 1)
        site.launch("io-1")
        assert begun.wait(40)
        site.wait(lambda: listener.requests, "the download")
        assert site.stop("io-1") < 8
        assert len(receiver.requests) == 1
        assert site.redis.zcard(f"headrace:{{a}}:outgoing:{lane_of(receiver.url)}") == 0
        began = time.monotonic()
        site.launch("io-2")
        site.wait(lambda: site.redis.hget(f"headrace:{{a}}:job:{job}", "held") == b"", "the job in its queue", 30)
        # Handed over, not left to the lease of a minute.
        assert time.monotonic() - began < 30
        assert len(receiver.requests) == 1
    finally:
        listener.close()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_stopping_training_worker_keeps_a_checkpoint_and_another_goes_on_from_it(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(HEADRACE_TRAINING__CHECKPOINT_SECONDS="3600", HEADRACE_QUEUE__LEASE_SECONDS="60")
    site.start_all("api-1", "preparing-1", "training-1")
    assert site.ended(site.push_dataset("blobs"), 120)["status"] == "succeeded"
    id_ = site.train("blobs", epochs=400)

    def told(field: str) -> str:
        return (site.redis.hget(f"headrace:{{a}}:data:{id_}", field) or b"").decode()  # type: ignore[union-attr]

    def seen() -> dict[str, Any]:
        job: dict[str, Any] = site.call("GET", f"/v1/trainings/{id_}").json()
        return job

    site.wait(lambda: json.loads(told("progress") or "{}").get("epoch", 0) >= 2, "two epochs", 180)
    site.stop("training-1")
    handed = seen()
    assert (handed["status"], handed["attempt"]) == ("starting", 1)
    assert [path for path in site.artifacts.names(f"checkpoints/{id_}")]
    site.start_all("training-2")
    site.wait(lambda: "going on after epoch" in told("logs"), "the second attempt", 120)
    assert seen()["attempt"] == 2
    site.call("POST", f"/v1/trainings/{id_}/cancel")
    site.stop("training-2")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_stopping_preparing_worker_ends_its_sandbox_and_hands_the_import_back(site: Site) -> None:
    file = site.folder / "own.keras"
    subprocess.run([sys.executable, "-c", MAKE_MODEL, str(file)], env=site.environment, check=True, capture_output=True)
    site.start_all("api-1", "preparing-1")
    requests.post(
        f"{site.url}/v1/models", json={"owner": "acme", "name": "own", "visibility": "private", "hardware": "cpu"},
        headers={"Authorization": f"Bearer {site.key}"}, timeout=30,
    )  # fmt: skip
    reply = requests.post(
        f"{site.url}/v1/models/acme/own/versions",
        files={"file": ("own.keras", file.read_bytes())},
        headers={"Authorization": f"Bearer {site.key}"},
        timeout=30,
    )
    assert reply.status_code == 201, reply.text
    id_ = reply.json()["id"]

    def status() -> str:
        return str(site.call("GET", f"/v1/jobs/{id_}").json()["status"])

    site.wait(lambda: status() == "processing", "the import", 90)
    site.wait(lambda: site.redis.hget(f"headrace:{{a}}:data:{id_}", "progress"), "the sandbox", 60)
    site.stop("preparing-1")
    assert status() == "starting"
    site.start_all("preparing-2")
    site.wait(lambda: status() == "succeeded", "the import", 150)
    assert site.call("GET", f"/v1/jobs/{id_}").json()["attempt"] == 2
