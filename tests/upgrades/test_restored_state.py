import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.checker import check
from benchmarks.chaos.commands import PLAIN
from tests.receivers import Receiver, answer
from tests.upgrades.site import Callers, Site
from tests.upgrades.test_backup_and_restore import headrace


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(answer(200))
    yield made
    made.close()


def _history(site: Site, accepted: dict[str, int], receiver: Receiver) -> Iterator[dict[str, Any]]:
    """What the chaos program's clients would have written down."""
    for at, (job_id, value) in enumerate(accepted.items()):
        job = site.ended(job_id)
        has_hook = value % 1_000_000 % 3 == 0
        yield {
            "at": at, "what": "accepted", "id": job_id, "key": job_id, "kind": "prediction", "values": [value],
            "command": PLAIN, "version": job["version"], "rows": 1, "created": job["created_at"],
            "until": job["created_at"], "webhook": has_hook, "events": ["completed"] if has_hook else None,
        }  # fmt: skip
        yield {
            "at": at + 0.5, "what": "saw", "id": job_id, "status": job["status"], "output": job["output"],
            "code": job.get("error_code"), "attempt": job["attempt"], "asked": at + 0.4,
        }  # fmt: skip
    for request in receiver.requests:
        told = request.json()
        if told["id"] in accepted:
            yield {
                "at": 1e9, "what": "hook", "id": told["id"], "hook": request.id, "status": told["status"],
                "output": told["output"], "signed": "webhook-signature" in request.headers, "fate": "ok",
            }  # fmt: skip


def _listed(site: Site) -> list[str]:
    found: list[str] = []
    path = "/v1/predictions"
    while path:
        page = site.call("GET", path).json()
        found += (job["id"] for job in page["results"])
        path = "/v1/" + page["next"].partition("/v1/")[2] if page["next"] else ""
    return found


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_checker_finds_nothing_wrong_in_what_was_restored_from_a_backup_made_under_load(
    make_site: Callable[..., Site], receiver: Receiver, tmp_path: Path
) -> None:
    first, second = make_site(), make_site()
    first.start_all("api-1", "api-2", "inference-1", "io-1")
    callers = Callers(first, receiver.url, 12)
    callers.start()
    first.wait(lambda: len(callers.accepted) > 300, "some load", 60)
    # Jobs pile up that the backup finds waiting, at work, and with webhooks under way.
    os.killpg(first.members["inference-1"].pid, signal.SIGSTOP)
    before = len(callers.accepted)
    first.wait(lambda: len(callers.accepted) > before + 50, "jobs that wait", 60)
    accepted = dict(callers.accepted)
    made = headrace(first, "backup", str(tmp_path / "backup.tar"))
    assert made.returncode == 0, made.stderr
    for name in ("api-1", "api-2", "inference-1", "io-1"):
        os.killpg(first.members[name].pid, signal.SIGKILL)
    callers.stop()
    restored = headrace(second, "restore", str(tmp_path / "backup.tar"), "--replace", "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["jobs_waiting"] > 10
    second.key = first.key
    second.registry.forget()
    second.start_all("api-1", "inference-1", "io-1")
    second.wait(lambda: not second.redis.exists("headrace:{a}:open"), "the end of all", 60)
    second.wait(lambda: not list(second.redis.scan_iter("headrace:{a}:outgoing:*")), "every webhook", 60)
    kinds = ("queue", "claim", "outgoing", "account")
    left = [str(name) for kind in kinds for name in second.redis.scan_iter(f"headrace:{{a}}:{kind}:*")]
    history = list(_history(second, accepted, receiver))
    assert len(accepted) > 350 and any(line["what"] == "hook" for line in history)
    final = {"listed": _listed(second), "state": left, "late": []}
    assert check(history, {second.version: 2.0}, [], final) == []
