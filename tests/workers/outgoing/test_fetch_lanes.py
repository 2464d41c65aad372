import threading
from typing import Any

import orjson

from shared.artifacts import REFERENCE
from shared.connections import Redis
from shared.http_client import lane_of
from shared.jobs.job import JobKind, new_job_id
from shared.jobs.new_job import NewJob, fetched_path
from shared.jobs.outgoing import Outgoing
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.settings import Settings
from tests.receivers import answer, hang
from tests.shared.outbound.servers import Listener, answering
from tests.workers.outgoing.conftest import PNG, POOL, QUEUE

SOON = 5.0
"""Far less than a dead receiver or a pause takes here."""


class OfAnEarlierRelease(NewJob):
    """A job whose download stands in the lane of the host's webhooks."""

    def record(self, spill: str) -> list[str | int]:
        fields = super().record(spill)
        fields[fields.index("held") + 1] = self.fetch_host
        return fields


def old_job(url: str, version: str) -> NewJob:
    id_ = new_job_id()
    place = REFERENCE + fetched_path(id_, 0)
    return OfAnEarlierRelease(
        id=id_, kind=JobKind.PREDICTION, account="ada", key_id="k", queue=QUEUE, pool=POOL, model="ada/m",
        version=version, input=orjson.dumps({"image": place}), details={"sources": {place: url}},
        fetch_host=lane_of(url),
    )  # fmt: skip


def test_a_job_joins_its_queue_at_once_although_webhooks_of_the_host_that_has_its_image_fail(
    serve: Any, start_fetcher: Any, submit: Any, finish: Any, submit_urls: Any, take: Any, redis: Redis,
    eventually: Any,
) -> None:  # fmt: skip
    def image_and_broken_receiver(listener: Listener, sock: Any) -> None:
        request = listener.hear(sock)
        status, body = (b"503 Busy", b"") if request.startswith(b"POST") else (b"200 OK", PNG)
        sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    server = serve(image_and_broken_receiver)
    for _ in range(3):
        submit(server.url("/hook"))
    finish()
    start_fetcher(webhooks={"circuit_failures": 1, "circuit_seconds": 100.0, "schedule_seconds": (0.0, 0.05, 0.05)})
    pause = f"headrace:{{a}}:pause:127.0.0.1:{server.port}"
    eventually(lambda: redis.exists(pause), what="the pause of the host's webhooks")
    id_ = submit_urls(server.url("/cat.png"))
    assert [job.id for job in eventually(lambda: take()[1], SOON, what="the job in its queue")] == [id_]
    assert redis.pttl(pause) > 50_000, "the download ended the pause of the webhooks"


def test_more_dead_receivers_than_threads_keep_no_download_waiting_from_a_host_that_nobody_knows_yet(
    receive: Any, serve: Any, start_fetcher: Any, submit: Any, finish: Any, submit_urls: Any, take: Any,
    eventually: Any,
) -> None:  # fmt: skip
    dead = [receive(hang) for _ in range(12)]
    for receiver in dead:
        submit(receiver.url)
    finish()
    start_fetcher(webhooks={"timeout_seconds": 30.0, "threads": 4, "slow_threads": 6, "slow_seconds": 0.2})
    eventually(lambda: sum(len(receiver.requests) for receiver in dead) == 6)
    id_ = submit_urls(serve(answering(body=PNG)).url())
    assert [job.id for job in eventually(lambda: take()[1], SOON, what="the job in its queue")] == [id_]
    assert sum(len(receiver.requests) for receiver in dead) == 6


def test_a_download_is_found_behind_more_receivers_that_wait_than_one_look_at_webhooks_goes_through(
    submit_urls: Any, outgoing: Outgoing
) -> None:
    for number in range(1100):
        outgoing.send(f"dead-{number}.test:443", "a1", "test")
    id_ = submit_urls("https://pictures.test/cat.png")
    (errand,) = outgoing.lease(9, per_host=4, fetches=True).errands
    assert (errand.host, errand.job_id, errand.what) == ("fetch@pictures.test:443", id_, "fetch")


def test_servers_that_never_send_an_image_keep_neither_prompt_ones_nor_webhooks_waiting(
    receive: Any, serve: Any, start_fetcher: Any, submit: Any, finish: Any, submit_urls: Any, take: Any,
    eventually: Any,
) -> None:  # fmt: skip
    over = threading.Event()

    def silent(listener: Listener, sock: Any) -> None:
        listener.hear(sock)
        over.wait(20)

    prompt = serve(answering(body=PNG))
    stalled = [serve(silent) for _ in range(4)]
    start_fetcher(webhooks={"slow_seconds": 0.2}, fetch_threads=4, fetch_timeout_seconds=30.0)
    known = submit_urls(prompt.url())
    assert [job.id for job in eventually(lambda: take()[1])] == [known]
    for server in stalled:
        submit_urls(server.url())
    eventually(lambda: sum(len(server.requests) for server in stalled) == 2, what="half of the threads being taken")
    id_ = submit_urls(prompt.url())
    assert [job.id for job in eventually(lambda: take()[1], SOON, what="the job in its queue")] == [id_]
    receiver = receive(answer(200))
    submit(receiver.url)
    finish()
    eventually(lambda: receiver.requests, SOON)
    assert sum(len(server.requests) for server in stalled) == 2
    over.set()


def test_a_held_job_of_an_earlier_release_is_fetched_from_the_lane_that_its_record_names(
    serve: Any, start_fetcher: Any, queue: JobQueue, take: Any, redis: Redis, settings: Settings, jobs: JobStore,
    version: str, eventually: Any,
) -> None:  # fmt: skip
    server = serve(answering(body=PNG))
    lane = f"headrace:{{a}}:outgoing:127.0.0.1:{server.port}"
    left, canceled = (queue.submit(old_job(server.url(), version)).id for _ in range(2))
    assert redis.zcard(lane) == 2 and not Outgoing(redis, settings).lease(9, per_host=9, fetches=True).errands
    queue.cancel(canceled)
    start_fetcher()
    assert [job.id for job in eventually(lambda: take()[1])] == [left]
    assert not redis.exists(lane) and jobs.get(canceled).status == "canceled"
    assert len(server.requests) == 1
