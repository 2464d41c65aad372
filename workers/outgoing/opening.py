"""Puts together what an io worker does in the world outside."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.connections import Redis
from shared.http_client import HttpClient
from shared.jobs.job import Job
from shared.jobs.outgoing import Errand, Outgoing
from shared.jobs.outputs import LargeOutputs
from shared.jobs.store import JobStore
from shared.jobs.stream_urls import StreamUrls
from shared.jobs.view import JobView
from shared.public_url import public_base
from shared.settings import Settings
from shared.webhooks.figures import WebhookFigures
from shared.webhooks.listeners import Listeners
from shared.webhooks.secrets import WebhookSecrets
from shared.webhooks.trials import Trials
from workers.outgoing.circuits import Circuits
from workers.outgoing.deliveries import Deliveries
from workers.outgoing.dispatcher import Dispatcher


def open_client(redis: Redis, settings: Settings) -> HttpClient:
    """The guarded client, which also calls the receivers that are registered for now."""
    return HttpClient(settings, Listeners(redis, settings).living)


def open_dispatcher(
    redis: Redis,
    settings: Settings,
    jobs: JobStore,
    outputs: LargeOutputs,
    client: HttpClient,
    others: Mapping[str, Callable[[Errand], None]] | None = None,
) -> Dispatcher:
    """A dispatcher that delivers webhooks.

    Args:
        redis: The server.
        settings: The process's settings.
        jobs: Where jobs are read.
        outputs: Shows outputs that are too large for a reply.
        client: What sends.
        others: What does the errands that are no webhooks, by what they are.
    """
    outgoing, figures, trials = Outgoing(redis, settings), WebhookFigures(redis, settings), Trials(redis, settings)
    circuits = Circuits(outgoing, figures, settings)
    view = JobView(outputs, StreamUrls(redis, settings))

    def body(job: Job) -> dict[str, Any]:
        # What iterates would be whole, whatever its size: a receiver is given the URL.
        return view(job, public_base(settings), is_brief=job.iterates)

    secrets = WebhookSecrets(redis, settings)
    deliveries = Deliveries(outgoing, jobs, secrets, trials, client, circuits, figures, body, settings)
    runners = {"": deliveries.run, "test": deliveries.run_trial, **(others or {})}
    return Dispatcher(redis, outgoing, circuits, runners, settings)
