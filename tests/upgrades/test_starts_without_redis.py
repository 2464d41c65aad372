import signal
import time
from collections.abc import Callable

import pytest
import requests

from tests.upgrades.site import Site

ALL = ("api-1", "inference-1", "training-1", "preparing-1", "io-1")


def _readiness(site: Site) -> requests.Response:
    return requests.get(f"{site.address('api-1')}/readyz", timeout=10)


def test_every_kind_of_process_started_before_redis_waits_says_so_and_serves_once_it_is_there(site: Site) -> None:
    site.server.kill()
    for name in ALL:
        site.launch(name)

    def log(name: str) -> str:
        return (site.folder / f"{name}.log").read_text()

    for name in ALL[1:]:
        site.wait(lambda name=name: "waiting for Redis" in log(name), f"the word of {name}")  # type: ignore[misc]
        assert "refused" in log(name)
    site.wait(lambda: "Redis does not answer" in log("api-1"), "the word of the API")
    site.url = site.address("api-1")
    site.wait(lambda: site.answers("/livez"), "the API")
    refused = _readiness(site)
    assert refused.status_code == 503
    assert refused.json()["dependencies"]["redis"]["ready"] is False
    assert refused.json()["dependencies"]["artifacts"]["ready"] is True
    assert refused.json()["workers"] is None
    assert site.call("GET", "/v1/predictions").status_code == 503
    # Once, not at every try.
    assert [log(name).count("waiting for Redis") for name in ALL[1:]] == [1] * 4
    assert log("api-1").count("Redis does not answer; requests") == 1
    site.server.start()
    for name in ALL:
        site.wait_for(name)
    assert all("over: waiting for Redis" in log(name) for name in ALL[1:])
    ready = _readiness(site).json()
    assert ready["workers"] == {"inference": 1, "training": 1, "preparing": 1, "io": 1}
    job = site.post([21, 0])
    assert site.ended(job["id"])["output"] == [42]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_while_it_waits_for_redis_ends_at_once_and_well(
    make_site: Callable[..., Site], number: signal.Signals
) -> None:
    site = make_site()
    site.server.kill()
    worker = site.launch("io-1")
    site.wait(lambda: "waiting for Redis" in (site.folder / "io-1.log").read_text(), "its word")
    worker.send_signal(number)
    assert worker.wait(10) == 0
    assert "Traceback" not in (site.folder / "io-1.log").read_text()


@pytest.mark.long
@pytest.mark.timeout(200)
def test_workers_serve_within_seconds_after_redis_was_away_for_long(site: Site) -> None:
    site.start_all("api-1", "inference-1", "io-1")
    assert site.ended(site.post([1, 0])["id"])["output"] == [2]
    site.server.kill()
    time.sleep(32)  # by then Celery alone would wait ten seconds and more until its next try
    site.server.start()
    began = time.monotonic()
    site.wait(lambda: site.answers("/readyz"), "the API")
    assert site.ended(site.post([21, 0])["id"])["output"] == [42]
    assert time.monotonic() - began < 8


def test_the_api_lives_and_says_what_is_wrong_where_the_artifact_store_cannot_be_written(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    place = site.folder / "no-folder"
    place.write_text("a file where the store should be")
    site.environment["HEADRACE_ARTIFACTS__URL"] = place.as_uri()
    site.launch("api-1")
    site.url = site.address("api-1")
    site.wait(lambda: site.answers("/livez"), "the API")
    reply = _readiness(site)
    assert reply.status_code == 503
    states = reply.json()["dependencies"]
    assert states["redis"]["ready"] and not states["artifacts"]["ready"]
    assert "cannot be written" in states["artifacts"]["detail"]
