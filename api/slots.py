"""Bounds how many requests hold a thread for as long as their clients like: sending a body, waiting, or streaming.

A blocked read cannot be interrupted, and a client that sends half a body keeps its thread. So some threads are left
over, whatever clients do: reads, cancels and health checks go on.

    bodies being received   at most 13/16 of the threads, beyond it 503
    waits for a job         at most 13/16 as well, beyond it the answer comes at once
    open streams            at most 13/16 as well, beyond it 503
    all together            at most 7/8
"""

import threading
from collections import Counter

from flask import Flask, current_app

from shared.errors import Unavailable

_NAME = "headrace.slots"
_BODY, _WAIT, _STREAM = "body", "wait", "stream"


class Slots:
    """The threads of one process that may be held.

    Args:
        threads: How many threads it has.
    """

    def __init__(self, threads: int) -> None:
        self._of_one_kind = max(1, threads * 13 // 16)
        self._in_all = max(1, threads * 7 // 8)
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Takes a slot while a body is read.

        Raises:
            Unavailable: None is free.
        """
        if not self._take(_BODY):
            raise Unavailable("As many clients as the server can hold are sending bodies; try again in a moment.")

    def __exit__(self, *error: object) -> None:
        """Gives that slot back."""
        self._give(_BODY)

    def take_wait(self) -> bool:
        """Takes a slot for a wait, if one is free; it is to be given back."""
        return self._take(_WAIT)

    def give_wait(self) -> None:
        """Gives such a slot back."""
        self._give(_WAIT)

    def take_stream(self) -> bool:
        """Takes a slot for a stream, if one is free; it is to be given back."""
        return self._take(_STREAM)

    def give_stream(self) -> None:
        """Gives such a slot back."""
        self._give(_STREAM)

    def _take(self, kind: str) -> bool:
        with self._lock:
            is_free = self._held[kind] < self._of_one_kind and self._held.total() < self._in_all
            self._held[kind] += is_free
        return is_free

    def _give(self, kind: str) -> None:
        with self._lock:
            self._held[kind] -= 1


def register_slots(app: Flask, slots: Slots) -> None:
    """Sets the bound of an application."""
    app.extensions[_NAME] = slots


def receiving() -> Slots:
    """Holds a slot of the application under way while a body is read, as a context; ``Unavailable`` where none is."""
    slots: Slots = current_app.extensions[_NAME]
    return slots
