"""What one API process works with: the stores and queues of ``shared``, opened once and handed to every request."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import current_app

from api.file_links import FileLinks
from api.following import Following
from api.input_urls import InputUrls
from api.slots import Slots
from api.submission import Submission
from api.urls import Urls
from api.waiting import Waiting
from shared.api_keys import ApiKeys
from shared.artifacts import ArtifactStore, open_artifacts
from shared.browser_tokens import BrowserTokens
from shared.connections import Redis, open_redis
from shared.datasets.store import DatasetStore
from shared.files import Files
from shared.heartbeats import Heartbeats
from shared.http_client import Guard
from shared.jobs.outgoing import Outgoing
from shared.jobs.outputs import LargeOutputs
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.stream_urls import StreamUrls
from shared.jobs.sweeps import Sweeper
from shared.jobs.view import JobView
from shared.metrics import Metrics
from shared.models.cards import ModelCards
from shared.models.deployments import Deployments
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.settings import Settings
from shared.signed_urls import SignedUrls
from shared.uploads import Uploads
from shared.webhooks.listeners import Listeners
from shared.webhooks.secrets import WebhookSecrets
from shared.webhooks.trials import Trials

_ANSWER_SECONDS = 0.8  # a command is tried twice, and a caller is to hear within two seconds that Redis is away


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    redis: Redis
    artifacts: ArtifactStore
    keys: ApiKeys
    browser_tokens: BrowserTokens
    jobs: JobStore
    queue: JobQueue
    submission: Submission
    slots: Slots
    waiting: Waiting
    following: Following
    streams: StreamUrls
    guard: Guard
    outgoing: Outgoing
    webhook_secrets: WebhookSecrets
    webhook_trials: Trials
    listeners: Listeners
    registry: ModelRegistry
    promotions: Promotions
    cards: ModelCards
    deployments: Deployments
    datasets: DatasetStore
    uploads: Uploads
    metrics: Metrics
    urls: Urls
    view: JobView
    outputs: LargeOutputs
    files: Files
    input_urls: InputUrls
    file_links: FileLinks
    heartbeats: Heartbeats


def open_services(settings: Settings) -> Services:
    """Opens everything; connects to nothing yet, so that a process starts while Redis is away."""
    answer = min(settings.redis.socket_timeout_seconds, _ANSWER_SECONDS)
    prompt = settings.redis.model_copy(
        update={
            "socket_timeout_seconds": answer,
            "connect_timeout_seconds": min(settings.redis.connect_timeout_seconds, answer),
        }
    )
    settings = settings.model_copy(update={"redis": prompt})
    redis = open_redis(settings)
    # Every thread may hold a connection, and so do the subscription and the sweeps; the client's own bound is 100.
    redis.connection_pool.max_connections = settings.http.threads + 16
    artifacts = open_artifacts(settings)
    queue = JobQueue(redis, settings, artifacts)
    jobs = JobStore(redis, settings, artifacts)
    keys = ApiKeys(redis, settings)
    browser_tokens = BrowserTokens(redis, settings, keys)
    registry = ModelRegistry(artifacts, redis, settings)

    promotions = Promotions(registry, redis, settings, queue.bells)
    deployments = Deployments(redis, settings, registry, promotions)

    def forget() -> None:
        keys.forget()
        browser_tokens.forget()
        registry.forget()
        deployments.forget()

    outputs, files = LargeOutputs(redis, settings, artifacts), Files(redis, settings, artifacts)
    listeners = Listeners(redis, settings)
    guard = Guard(settings, listeners.living)
    slots = Slots(settings.http.threads)
    following = Following(settings, slots)
    waiting = Waiting(redis, settings, slots, forget, following)
    streams = StreamUrls(redis, settings)
    return Services(
        settings=settings,
        redis=redis,
        artifacts=artifacts,
        keys=keys,
        browser_tokens=browser_tokens,
        jobs=jobs,
        queue=queue,
        submission=Submission(settings, redis, queue, jobs, waiting),
        slots=slots,
        waiting=waiting,
        following=following,
        streams=streams,
        guard=guard,
        outgoing=Outgoing(redis, settings),
        webhook_secrets=WebhookSecrets(redis, settings),
        webhook_trials=Trials(redis, settings),
        listeners=listeners,
        registry=registry,
        promotions=promotions,
        cards=ModelCards(artifacts, redis, settings),
        deployments=deployments,
        datasets=DatasetStore(artifacts, redis, settings),
        uploads=Uploads(redis, settings, artifacts),
        metrics=Metrics(redis, settings),
        urls=Urls(settings),
        view=JobView(outputs, streams),
        outputs=outputs,
        files=files,
        input_urls=InputUrls(settings, files, artifacts, guard),
        file_links=FileLinks(SignedUrls(redis, settings), settings),
        heartbeats=Heartbeats(redis, settings),
    )


def start_threads(services: Services, *, sweeps: bool) -> None:
    """Begins to hear of ended jobs, and to sweep, so that nothing waits for a living worker."""
    services.waiting.start()
    if sweeps:
        also = (services.promotions.sweep, services.files.tidy, _rebuild_once(services))
        sweeper = Sweeper(services.redis, services.settings, services.artifacts, also=also)
        threading.Thread(target=sweeper.run_forever, args=(threading.Event(),), name="sweeps", daemon=True).start()


def _rebuild_once(services: Services) -> Callable[[], None]:
    """Enters into Redis what the store holds and Redis may have lost with its last second; tried until it is done."""
    left = [services.datasets.rebuild, services.registry.rebuild]

    def rebuild() -> None:
        while left:
            left[-1]()
            left.pop()

    return rebuild


def services() -> Services:
    """The services of the application that answers this request."""
    return cast(Services, current_app.extensions["headrace"])
