from typing import Any

import requests

from shared.errors import JobError
from shared.jobs.claim import Outcome
from shared.jobs.job import JobKind, JobStatus, new_job_id
from shared.jobs.new_job import NewJob, queue_of
from tests.promises.conftest import MODEL
from tests.upgrades.site import Site

POOL = "predict.cpu"


def test_todays_code_serves_the_data_of_an_earlier_commit(site: Site, facts: dict[str, Any]) -> None:
    site.start_all("api-1")
    one, two = facts["versions"]
    jobs = facts["jobs"]
    # Keys, and what each may do.
    assert site.call("GET", "/v1/account").json()["username"] == "acme"
    reader = {"Authorization": f"Bearer {facts['reader']}"}
    assert requests.get(f"{site.url}/v1/predictions", headers=reader, timeout=9).json()["results"] == []
    refused = requests.post(f"{site.url}/v1/models/{MODEL}/predictions", json={"input": {}}, headers=reader, timeout=9)
    assert refused.status_code == 403
    # Models, versions, names and their history.
    listed = site.call("GET", f"/v1/models/{MODEL}/versions").json()["results"]
    assert [version["id"] for version in listed] == [two, one]
    assert site.registry.aliases("acme", "double") == {"candidate": two, "production": one}
    moves = site.registry.alias_history("acme", "double")
    assert [(move.alias, move.version, move.by, move.reason) for move in moves] == [
        ("production", one, "ben", "worse after all"),
        ("candidate", two, "ann", ""),
        ("production", two, "ann", "better"),
        ("production", one, "ann", "first"),
    ]
    assert site.call("GET", "/v1/datasets/pets").json()["digest"] == facts["dataset"]
    # Jobs that had ended.
    ended = {name: site.get(jobs[name]) for name in ("succeeded", "failed", "canceled")}
    assert {name: job["status"] for name, job in ended.items()} == {name: name for name in ended}
    assert ended["succeeded"]["output"] == [2] and ended["succeeded"]["metrics"]["predict_time"] == 0.5
    assert "The row is bad." in ended["failed"]["error"]
    all_ids = {job["id"] for job in site.call("GET", "/v1/predictions").json()["results"]}
    assert all_ids == set(jobs.values())
    # A key of a request that was answered before.
    again = NewJob(
        id=new_job_id(), kind=JobKind.PREDICTION, account="acme", key_id="k", queue=queue_of(one, POOL), pool=POOL,
        input=b"{}", version=one, idempotency_key="old-key", body_hash="old-body",
    )  # fmt: skip
    assert site.queue.submit(again).id == jobs["succeeded"]
    # Jobs that waited, that were suspects, and that a worker held which has died meanwhile.
    site.start_all("inference-1", "io-1")
    outputs = {
        "waiting": [10], "low": [[12], [14]], "suspect": [16], "hook0": [18], "hook1": [20], "plain": [22],
        "large": [24], "lapsed": [6],
    }  # fmt: skip
    for name, output in outputs.items():
        job = site.ended(jobs[name])
        assert (name, job["status"], job["output"]) == (name, "succeeded", output)
    assert site.get(jobs["lapsed"])["attempt"] == 2
    site.wait(lambda: not site.redis.exists("headrace:{a}:open"), "the end of all")
    assert not site.redis.exists("headrace:{a}:account:acme", "headrace:{a}:claims", f"headrace:{{a}}:ready:{POOL}")
    # And new work.
    assert site.post([50, 0], Prefer="wait=20")["output"] == [100]


def _new(site: Site, version: str, **fields: Any) -> str:
    usual: dict[str, Any] = {
        "id": new_job_id(), "kind": JobKind.PREDICTION, "account": "zoe", "key_id": "k",
        "queue": queue_of(version, POOL), "pool": POOL, "input": b'{"x": [1, 0]}', "model": MODEL, "version": version,
    }  # fmt: skip
    return site.queue.submit(NewJob(**(usual | fields))).id


def _old_take(call_old: Any, version: str, claim: str) -> list[tuple[str, int]]:
    taken = call_old("take", queue_of(version, POOL), POOL, claim, 64, 1 << 20, 15_000, 60_000, 1, "", 100)
    return [(job[0].decode(), job[1]) for job in taken[5:]]


def test_scripts_of_both_commits_work_on_one_queue(site: Site, facts: dict[str, Any], call_old: Any) -> None:
    _, two = facts["versions"]
    first, second, third = (_new(site, two) for _ in range(3))
    assert _old_take(call_old, two, "old") == [(first, 1), (second, 1), (third, 1)]
    assert {id_.decode() for id_ in call_old("renew", "old", 15_000)} == {first, second, third}
    # Today's cancel ends what the old code computes, and the old code learns it.
    site.queue.cancel(second)
    assert call_old("settle", "old", "2", 1, 1, first, 1, "succeeded", "[2]", "", "{}", second, 1, "succeeded", "[2]", "", "{}") == [b"ok", b"lost"]  # fmt: skip  # noqa: E501
    assert site.jobs.get(first).output == [2]  # type: ignore[union-attr]
    # What the old code hands back, today's takes, and the other way round.
    assert call_old("release", "old", 5)[2:] == [third.encode()]
    taken = site.queue.take(queue_of(two, POOL), POOL, max_rows=64, max_bytes=1 << 20, hard_seconds=60, solo=True)
    assert [(job.id, job.attempt) for job in taken.jobs] == [(third, 2)]
    site.queue.release(taken.claim)
    assert _old_take(call_old, two, "again") == [(third, 3)]
    assert site.queue.settle("again", [Outcome(third, 3, b"[2]")]) == ["ok"]
    failed = _new(site, two)
    _old_take(call_old, two, "last")
    site.queue.settle("last", [Outcome(failed, 1, error=JobError("no"))])
    assert site.jobs.get(failed).status is JobStatus.FAILED  # type: ignore[union-attr]
    assert not site.redis.exists("headrace:{a}:account:zoe")


def test_a_webhook_of_today_is_lost_where_the_old_code_ends_its_job_and_so_its_workers_go_first(
    site: Site, facts: dict[str, Any], call_old: Any
) -> None:
    _, two = facts["versions"]
    hooked = {"webhook": "https://example.com/h", "webhook_events": ("completed",), "webhook_host": "example.com:443"}
    by_old, by_new = _new(site, two, **hooked), _new(site, two, **hooked)
    lane = "headrace:{a}:outgoing:example.com:443"
    _old_take(call_old, two, "old")
    call_old("settle", "old", "1", 1, 1, by_old, 1, "succeeded", "[2]", "", "{}")
    assert site.redis.zrange(lane, 0, -1) == []
    assert site.queue.settle("old", [Outcome(by_new, 1, b"[2]")]) == ["ok"]
    assert site.redis.zrange(lane, 0, -1) == [f"{by_new}|completed".encode()]
