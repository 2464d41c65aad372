"""Starts the dispatcher of an io worker, which delivers webhooks and fetches inputs; no message carries any of them."""

from functools import cache
from typing import TYPE_CHECKING, Any

from celery import signals

from shared.roles import Role
from workers.celery import current_process, role_of

if TYPE_CHECKING:
    from workers.outgoing.dispatcher import Dispatcher

_STOP_SECONDS = 3.0
"""How long a stop waits for attempts under way; another worker makes the others."""

_started: list["Dispatcher"] = []


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _start(sender: Any, **_: object) -> None:
    if role_of(sender.app) is Role.IO:
        dispatcher().start()
        _started.append(dispatcher())


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: object) -> None:
    for one in _started:
        one.stop()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _wait(**_: object) -> None:
    for one in _started:
        one.join(_STOP_SECONDS)


@cache
def dispatcher() -> "Dispatcher":
    """The one dispatcher of this process."""
    from shared.jobs.outgoing import Outgoing
    from workers.outgoing.fetching import Fetcher
    from workers.outgoing.opening import open_client, open_dispatcher

    process = current_process()
    client = open_client(process.redis, process.settings)
    fetcher = Fetcher(
        process.settings,
        client,
        Outgoing(process.redis, process.settings),
        process.queue,
        process.jobs,
        process.artifacts,
        process.registry,
        process.stopping,
    )
    others = {"fetch": fetcher.run}
    return open_dispatcher(process.redis, process.settings, process.jobs, process.outputs, client, others)
