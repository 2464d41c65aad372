"""Delivers webhooks: signs, sends, and decides from the answer whether it is over, comes again or is given up."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import structlog

from shared.errors import ServiceError
from shared.http_client import HttpClient, HttpFailed, Reply, TargetRefused
from shared.jobs.job import Job, JobStatus
from shared.jobs.outgoing import Errand, Outgoing
from shared.jobs.store import JobStore
from shared.jobs.view import moment
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures
from shared.webhooks.secrets import WebhookSecrets
from shared.webhooks.signing import message_id, passing_id, signed_headers
from shared.webhooks.trials import Trials
from workers.outgoing.circuits import Circuits

log = structlog.get_logger(__name__)

_GONE = 410
_SHOWN_REPLY = 500  # characters of a reply that the delivery log keeps
_LAST = ("completed",)


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one attempt."""

    outcome: str
    """``delivered``, ``failed``, ``gone`` (410) or ``refused`` (an address that is never called)."""
    seconds: float
    status: int | None = None
    error: str | None = None
    retry_after: float = 0.0
    reply: str | None = None


class Deliveries:
    """One process's deliveries.

    Args:
        outgoing: The lanes.
        jobs: Where jobs are read.
        secrets: What signs.
        trials: Test messages.
        client: What sends.
        circuits: How hosts behave.
        figures: Where attempts are counted.
        body: Makes the object that a webhook carries, as GET would answer it.
        settings: The process's settings.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        jobs: JobStore,
        secrets: WebhookSecrets,
        trials: Trials,
        client: HttpClient,
        circuits: Circuits,
        figures: WebhookFigures,
        body: Callable[[Job], dict[str, Any]],
        settings: Settings,
    ) -> None:
        self._outgoing = outgoing
        self._jobs = jobs
        self._secrets = secrets
        self._trials = trials
        self._client = client
        self._circuits = circuits
        self._figures = figures
        self._body = body
        self._settings = settings.webhooks

    def run(self, errand: Errand) -> None:
        """Makes one attempt at the webhook of an event."""
        job = self._jobs.get(errand.job_id)
        if job is None or not job.webhook or not _has_news(errand, job):
            self._outgoing.done(errand)
            return
        id_ = passing_id() if errand.what == "progress" else message_id(job.id, errand.what)
        shown = _as_begun(job) if errand.what == "start" and job.is_terminal else job
        extra = {"traceparent": job.traceparent} if job.traceparent else {}
        try:
            result = self._send(errand.host, job.account, job.webhook, id_, orjson.dumps(self._body(shown)), extra)
        except ServiceError:
            raise
        except Exception:  # an error of ours must not make the attempt come again and again for ever
            log.exception("a webhook cannot be sent", job=job.id)
            result = _Result("failed", 0.0, error="The server failed; the log of its io worker says why.")
        self._conclude(errand, id_, result)

    def run_trial(self, errand: Errand) -> None:
        """Sends a test message, once."""
        trial = self._trials.get(errand.job_id)
        if trial is None:
            self._outgoing.done(errand)
            return
        id_ = message_id(errand.job_id, errand.what)
        result = self._send(errand.host, trial.account, trial.url, id_, orjson.dumps(_test_object(errand.job_id)), {})
        self._outgoing.done(errand, _entry(errand, id_, result, None))
        self._trials.end(errand.job_id, trial)
        self._figures.count(errand.what, result.outcome)

    def _send(self, host: str, account: str, url: str, id_: str, body: bytes, extra: dict[str, str]) -> _Result:
        signed = signed_headers(self._secrets.get(account).keys, id_, body)
        headers = {"Content-Type": "application/json", **extra, **signed}
        begun = time.monotonic()
        try:
            reply = self._client.request(
                "POST",
                url,
                headers=headers,
                body=body,
                timeout_seconds=self._settings.timeout_seconds,
                max_bytes=self._settings.reply_bytes,
            )
        except TargetRefused as error:
            return _Result("refused", time.monotonic() - begun, error=str(error))
        except HttpFailed as error:
            seconds = time.monotonic() - begun
            if error.status is None:
                self._circuits.failed(host)
                return _Result("failed", seconds, error=str(error))
            # It has answered, and then not come to the end of what nobody needs.
            reply = Reply(error.status, {}, b"", seconds)
        result = _judged(reply)
        # A receiver that says no is one that answers.
        note = self._circuits.failed if reply.status >= 500 else self._circuits.succeeded
        note(host)
        return result

    def _conclude(self, errand: Errand, id_: str, result: _Result) -> None:
        pause = self._pause(errand, result)
        if result.outcome == "delivered" or errand.what not in _LAST:
            # What only tells of the way is told once: the end of the job says all of it.
            self._outgoing.done(errand, _entry(errand, id_, result, None))
        elif pause is None:
            log.warning("a webhook was given up", job=errand.job_id, outcome=result.outcome, error=result.error)
            self._outgoing.dead(errand, _entry(errand, id_, result, None))
        else:
            self._outgoing.retry(errand, pause, _entry(errand, id_, result, pause))
        self._figures.count(errand.what, result.outcome)

    def _pause(self, errand: Errand, result: _Result) -> float | None:
        """Seconds until the next attempt, ``None`` where there is none."""
        schedule = self._settings.schedule_seconds
        if result.outcome != "failed" or errand.tries + 1 >= len(schedule):
            return None
        pause = schedule[errand.tries + 1] * random.uniform(1 - self._settings.jitter, 1 + self._settings.jitter)
        return max(pause, min(result.retry_after, self._settings.max_retry_after_seconds))


def _judged(reply: Reply) -> _Result:
    text = reply.body[: 4 * _SHOWN_REPLY].decode(errors="replace")[:_SHOWN_REPLY] or None
    if 200 <= reply.status < 300:
        return _Result("delivered", reply.seconds, reply.status, reply=text)
    error = f"The receiver answered {reply.status}."
    if reply.status == _GONE:
        return _Result("gone", reply.seconds, reply.status, f"{error[:-1]}: it wants no more.", reply=text)
    if 300 <= reply.status < 400:
        error = f"{error[:-1]}: redirects are not followed, so give the address that it leads to."
    pause = _retry_after(_header(reply, "retry-after"))
    return _Result("failed", reply.seconds, reply.status, error, pause, text)


def _has_news(errand: Errand, job: Job) -> bool:
    """Whether an errand still tells of what it was made for."""
    if errand.what == "completed":
        return job.is_terminal  # or its end was lost in a crash of Redis: then it ends again, and this is sent then
    # The way was leased, and the end came before it was read: it would tell of the end too, under another id.
    return not (errand.what == "progress" and job.is_terminal and "completed" in job.webhook_events)


def _as_begun(job: Job) -> Job:
    """A job as it was when it began, for a message about that which is late: one message says the end."""
    return replace(
        job, status=JobStatus.PROCESSING, output=None, error=None, error_code=None, logs="", metrics={}, progress=None,
        completed_at=None, data_removed=False,
    )  # fmt: skip


def _test_object(trial_id: str) -> dict[str, Any]:
    now = moment(time.time())
    return {
        "id": trial_id, "kind": "test", "status": "succeeded", "model": "", "version": "", "input": {},
        "output": "This is a test message: its signature is right, and there is no job of this id.", "error": None,
        "logs": "", "metrics": {}, "created_at": now, "started_at": now, "completed_at": now, "data_removed": False,
        "urls": {},
    }  # fmt: skip


def _entry(errand: Errand, id_: str, result: _Result, pause: float | None) -> dict[str, Any]:
    now = time.time()
    return {
        "event": errand.what,
        "webhook_id": id_,
        "attempt": errand.tries + 1,
        "at": moment(now - result.seconds),
        "outcome": result.outcome,
        "status": result.status,
        "error": result.error,
        "seconds": round(result.seconds, 4),
        "reply": result.reply,
        "next_attempt_at": None if pause is None else moment(now + pause),
    }


def _header(reply: Reply, name: str) -> str:
    return next((value for key, value in reply.headers.items() if key.lower() == name), "")


def _retry_after(text: str) -> float:
    """Seconds that the header ``Retry-After`` asks for; 0 where it cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
