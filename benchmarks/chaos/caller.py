"""One caller of the two APIs: a request, a request that is repeated until there is an answer, and what came of each."""

import random
import threading
import time
from typing import Any

import requests

from benchmarks.chaos.history import History


class Caller:
    """Speaks for one key.

    Args:
        urls: The APIs; each request goes to one of them.
        key: An API key.
        history: Where replies are written that are none.
    """

    def __init__(self, urls: list[str], key: str, history: History) -> None:
        self._urls, self._key, self._history = urls, key, history
        self._local = threading.local()
        self.stopping = threading.Event()

    def get(self, path: str, patience: float = 60.0) -> requests.Response | None:
        """A reply other than 5xx, asked for again and again."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            reply = self.call("GET", path)
            if reply is not None and reply.status_code < 500:
                return reply
            time.sleep(0.2)
        return None

    def persist(
        self, method: str, path: str, body: Any, key: str, headers: dict[str, str] | None = None
    ) -> requests.Response | None:
        """Asks until there is an answer, by one key, as a careful client does."""
        until = time.monotonic() + 90
        while time.monotonic() < until:
            reply = self.call(method, path, json=body, headers={**(headers or {}), "Idempotency-Key": key})
            if reply is not None and reply.status_code < 500 and reply.status_code != 429:
                return reply
            if reply is not None and reply.status_code == 429 and self.stopping.is_set():
                return reply
            time.sleep(min(2.0, float(reply.headers.get("Retry-After", 0.3))) if reply is not None else 0.3)
        return None

    def call(self, method: str, path: str, **options: Any) -> requests.Response | None:
        """One try; nothing where no whole answer came."""
        headers = {"Authorization": f"Bearer {self._key}", **(options.pop("headers", None) or {})}
        began, asked = time.monotonic(), time.time()
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        try:
            reply = self._local.session.request(
                method, random.choice(self._urls) + path, headers=headers, timeout=(3, 20), **options
            )
        except requests.RequestException as error:
            self._history.add("no answer", method=method, path=path, error=type(error).__name__)
            return None
        if reply.status_code >= 500 or reply.status_code == 429:
            self._history.add("turned away", method=method, path=path, status=reply.status_code,
                              seconds=round(time.monotonic() - began, 3), text=reply.text[:300])  # fmt: skip
        reply.asked = asked
        return reply  # type: ignore[no-any-return]

    def events(self, job_id: str, patience: float = 10.0) -> tuple[list[str], bool]:
        """The statuses that a job's stream tells of until it breaks or patience ends, and whether it said ``done``."""
        said: list[str] = []
        until, event = time.monotonic() + patience, ""
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "text/event-stream"}
        url = f"{random.choice(self._urls)}/v1/jobs/{job_id}/events"
        try:
            with requests.get(url, headers=headers, timeout=(3, 12), stream=True) as reply:
                if reply.status_code != 200:
                    return said, False
                for line in reply.iter_lines(chunk_size=1):
                    field, _, value = line.decode().partition(": ")
                    if field == "event":
                        event = value
                    elif field == "data" and event == "status":
                        said.append(value)
                    if event == "done":
                        return said, True
                    if time.monotonic() > until:
                        break
        except (requests.RequestException, UnicodeDecodeError):
            pass  # the API was killed: what was said counts
        return said, False
