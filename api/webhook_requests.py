"""Reads where a create wants its webhooks, and of what events, whatever form its body has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from api.services import services
from shared.errors import InvalidInput
from shared.http_client import lane_of
from shared.jobs.new_job import NewJob

EVENTS = ("start", "output", "logs", "completed")
"""What a webhook may tell of."""

DEFAULT_EVENTS = ("output", "completed")
"""What it tells of without a filter."""

WEBHOOK_FIELDS = ("webhook", "webhook_completed", "webhook_events_filter")
"""The keys that say it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the webhooks of a job go; nowhere while the URL is empty."""

    url: str = ""
    events: tuple[str, ...] = ()
    host: str = ""
    """The lane of the URL, ``host:port``."""

    def added_to(self, new: NewJob) -> NewJob:
        """The job with this webhook."""
        return replace(new, webhook=self.url, webhook_events=self.events, webhook_host=self.host) if self.url else new


_NONE = Webhook()


def read_webhook(keys: Mapping[str, Any], *, is_form: bool = False) -> Webhook:
    """What the keys of a body say of webhooks.

    Args:
        keys: The body's keys.
        is_form: They are a form's fields, whose values are texts.

    Raises:
        InvalidInput: A URL is none that we may call, or an event is none of ours.
    """
    every, at_end = (keys.get(name) or "" for name in WEBHOOK_FIELDS[:2])
    told = keys.get("webhook_events_filter")
    events = _events(_listed(told) if is_form and isinstance(told, str) else told)
    if not every and not at_end:
        return _NONE
    field = "webhook" if every else "webhook_completed"
    for name, url in zip(WEBHOOK_FIELDS, (every, at_end), strict=False):
        if not isinstance(url, str):
            raise InvalidInput(f"{name} must be a URL.", name)
    if every and at_end:
        if every != at_end:
            raise InvalidInput(
                "webhook and webhook_completed must be one URL: a job has one receiver.", "webhook_completed"
            )
        events = tuple(name for name in EVENTS if name in events or name == "completed")
    elif at_end:
        events = ("completed",)
    url = every or at_end
    return Webhook(url, events, lane_of(url, services().guard, field))


def _listed(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return [name.strip() for name in text.split(",") if name.strip()]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"webhook_events_filter is not JSON: {error}.", "webhook_events_filter", "json") from error


def _events(value: Any) -> tuple[str, ...]:
    if value is not None and not (isinstance(value, list) and all(name in EVENTS for name in value)):
        raise InvalidInput(
            f"webhook_events_filter must be a list of {', '.join(EVENTS)}.", "webhook_events_filter", "enum"
        )
    return tuple(name for name in EVENTS if name in value) if value else DEFAULT_EVENTS
