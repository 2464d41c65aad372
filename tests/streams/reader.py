"""Reads one stream in a thread, as a page or a program would."""

import threading
import time
from collections.abc import Callable

import requests

from tests.api.events import Received, events_of


class Reader:
    """One open stream and what came over it.

    Args:
        url: The stream.
        key: Sent as a key, if there is one.
        after: The id of the last event that was read before.
    """

    def __init__(self, url: str, key: str = "", after: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if after:
            headers["Last-Event-ID"] = after
        self.events: list[Received] = []
        self.heartbeats = 0
        self.is_cut = False
        self._changed = threading.Condition()
        self._reply = requests.get(url, headers=headers, stream=True, timeout=30)
        assert self._reply.status_code == 200, self._reply.text
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(event.name, event.data) for event in self.events]

    @property
    def is_closed(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            while not condition():
                assert time.monotonic() < until, (self.said, self.heartbeats, self.is_closed)
                self._changed.wait(0.1)

    def end(self, seconds: float = 30.0) -> None:
        """Waits until the connection is closed."""
        self._thread.join(seconds)
        assert self.is_closed, self.said

    def close(self) -> None:
        self._reply.close()

    def _read(self) -> None:
        try:
            for event in events_of(self._reply.iter_content(None)):
                with self._changed:
                    if event is None:
                        self.heartbeats += 1
                    else:
                        self.events.append(event)
                    self._changed.notify_all()
        except (requests.RequestException, AttributeError):
            self.is_cut = True
