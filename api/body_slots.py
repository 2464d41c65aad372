"""Bounds how many requests may be receiving a body at once, so that slow senders never hold every thread.

A blocked read cannot be interrupted, and a client that sends half a body keeps its thread. So a quarter of the
threads is left to requests without one: reads, cancels and health checks go on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, current_app

from shared.errors import Unavailable
from shared.settings import Settings

_NAME = "headrace.body_slots"


def register_body_slots(app: Flask, settings: Settings) -> None:
    """Sets the bound of an application."""
    app.extensions[_NAME] = threading.BoundedSemaphore(max(1, settings.http.threads * 3 // 4))


@contextmanager
def receiving() -> Iterator[None]:
    """Holds a slot while a body is read.

    Raises:
        Unavailable: None is free.
    """
    slots = current_app.extensions[_NAME]
    if not slots.acquire(blocking=False):
        raise Unavailable("As many clients as the server can hold are sending bodies; try again in a moment.")
    try:
        yield
    finally:
        slots.release()
