"""Bugs that can be planted into the running product, to see that the checker finds them."""

import random
from collections.abc import Callable
from typing import Any


def _replace(script: str, old: str, new: str) -> None:
    """Plants a bug in a script of the queue."""
    from shared.jobs import lua

    real = lua.sources

    def sources() -> dict[str, str]:
        texts = dict(real())
        if old not in texts[script]:
            raise LookupError(f"{script} has no {old!r}")
        texts[script] = texts[script].replace(old, new)
        return texts

    lua.sources = sources  # type: ignore[assignment]


def _lease_is_not_renewed() -> None:
    from shared.jobs.queue import JobQueue

    JobQueue.renew = lambda self, claim: {"everything"}  # type: ignore[method-assign,assignment]
    _replace("take", "math.min(now + lease, hard), claim)", "math.min(now + 1, hard), claim)")


def _settle_without_the_fence() -> None:
    _replace("settle", "if not j or j.attempt ~= attempt or j.claim ~= claim then", "if not j then")
    _replace("settle", "elseif over(j) then", "elseif false then")


def _cancel_forgets_the_counters() -> None:
    _replace("cancel", "call('HINCRBY', account, 'bytes', -j.bytes)", "")
    _replace("cancel", "call('HINCRBY', account, 'rows', -j.rows) <= 0", "false")


def _rows_are_swapped() -> None:
    from workers.inference import batch

    real = batch.run_batch

    def swapped(*args: Any, **options: Any) -> Any:
        answers = real(*args, **options)
        good = [place for place, answer in enumerate(answers) if not isinstance(answer, Exception)]
        if len(good) > 1 and random.random() < 0.3:
            first, last = good[0], good[-1]
            answers[first], answers[last] = answers[last], answers[first]
        return answers

    batch.run_batch = swapped


def _webhook_under_a_new_id_at_each_try() -> None:
    from shared.webhooks import signing

    signing.message_id = lambda job_id, event: f"msg_{random.getrandbits(60)}"


def _webhook_before_the_commit() -> None:
    """The worker tells of an end itself, and writes it down a moment later."""
    import time

    import orjson
    import requests

    from shared.webhooks.secrets import WebhookSecrets
    from shared.webhooks.signing import message_id, signed_headers
    from workers.celery import current_process
    from workers.inference import drain

    real = drain.settle_patiently

    def settle(queue: Any, claim: Any, outcomes: Any, **measures: Any) -> Any:
        process = current_process()
        told = False
        for outcome in outcomes:
            job = process.jobs.get(outcome.id)
            is_large = (outcome.output or b"").startswith(b"artifact:")
            if job is None or not job.webhook or outcome.error is not None or is_large:
                continue
            body = orjson.dumps(
                {"id": job.id, "status": "succeeded", "output": orjson.loads(outcome.output or b"null")}
            )
            keys = WebhookSecrets(process.redis, process.settings).get(job.account).keys
            headers = signed_headers(keys, message_id(job.id, "completed"), body)
            try:
                told = requests.post(job.webhook, body, headers=headers, timeout=3).ok or told
            except requests.RequestException:
                continue
        if told:
            time.sleep(0.5)
        return real(queue, claim, outcomes, **measures)

    drain.settle_patiently = settle


def _webhook_is_forgotten_after_a_failure() -> None:
    _replace("conclude", "if outcome == 'retry' or outcome == 'later' then", "if false then")


def _one_key_makes_two_jobs() -> None:
    _replace("submit", "local old = call('GET', key('idem', idem))", "local old = false")


def _expired_work_is_computed() -> None:
    _replace("take", "tonumber(j.deadline) <= now", "false")
    _replace("expire", "if j then stop(j, late(j))", "if false then stop(j, late(j))")


def _dead_workers_keep_their_jobs() -> None:
    _replace("reclaim", "'LIMIT', 0, limit)", "'LIMIT', 0, 0)")


def _admission_ignores_the_limits() -> None:
    _replace("submit", "(a[1] or 0) + rows > tonumber(account_rows) or ", "")


ALL: dict[str, Callable[[], None]] = {
    "lease_is_not_renewed": _lease_is_not_renewed,
    "settle_without_the_fence": _settle_without_the_fence,
    "cancel_forgets_the_counters": _cancel_forgets_the_counters,
    "rows_are_swapped": _rows_are_swapped,
    "webhook_under_a_new_id_at_each_try": _webhook_under_a_new_id_at_each_try,
    "webhook_before_the_commit": _webhook_before_the_commit,
    "webhook_is_forgotten_after_a_failure": _webhook_is_forgotten_after_a_failure,
    "one_key_makes_two_jobs": _one_key_makes_two_jobs,
    "expired_work_is_computed": _expired_work_is_computed,
    "dead_workers_keep_their_jobs": _dead_workers_keep_their_jobs,
    "admission_ignores_the_limits": _admission_ignores_the_limits,
}


def plant(name: str) -> None:
    """Plants a bug; "" plants none."""
    if name:
        ALL[name]()
