"""A receiver of webhooks on this machine: registered while it runs, and it verifies what it gets."""

import contextlib
import json
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cli.client import Client
from cli.terminal import Failure
from shared.webhooks.signing import InvalidWebhook, verify

RENEW_SECONDS = 20.0
MAX_BYTES = 64 << 20
_READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook that came."""

    id: str
    body: Any
    """Parsed; the text as it came where it is no JSON."""
    problem: str | None
    """Why it is not to be trusted; ``None`` where its signature is right."""


class Receiver:
    """A context that listens on a free port, or on a given one.

    Args:
        client: The server that sends.
        port: Where to listen; 0 for a free one.
        status: What each webhook is answered.
    """

    def __init__(self, client: Client, port: int = 0, status: int = 200) -> None:
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self._client = client
        self._status = status
        self._keys: list[str] = []
        self._stopped = threading.Event()
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise Failure(f"Port {port} of 127.0.0.1 is taken ({error.strerror}); choose another.") from error
        self._server.daemon_threads = True
        self._address = f"127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True),
            threading.Thread(target=self._renew, name="receiver-registration", daemon=True),
        ]

    @property
    def url(self) -> str:
        """Where it gets webhooks."""
        return f"http://{self._address}/"

    def __enter__(self) -> Self:
        """Registers and begins to listen.

        Raises:
            Failure: The server refuses it.
        """
        try:
            self._read_keys()
            self._register()
        except BaseException:
            self._server.server_close()
            raise
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends both."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(Failure):  # it ends by itself within a minute
            self._client.delete(f"/v1/webhooks/listeners/{self._address}")

    def _register(self) -> None:
        self._client.post("/v1/webhooks/listeners", {"address": self._address})

    def _renew(self) -> None:
        while not self._stopped.wait(RENEW_SECONDS):
            with contextlib.suppress(Failure):
                self._register()

    def _read_keys(self) -> None:
        secret = self._client.get("/v1/webhooks/default/secret")
        self._keys = [secret["key"], *(old["key"] for old in secret["old"])]

    def _take(self, headers: Mapping[str, str], content: bytes) -> None:
        problem = self._problem(headers, content)
        if problem is not None:  # the secret may have been rotated since
            with contextlib.suppress(Failure):
                self._read_keys()
                problem = self._problem(headers, content)
        try:
            body = json.loads(content)
        except ValueError:
            body = content.decode(errors="replace")
        self.deliveries.put(Delivery(headers.get("webhook-id", ""), body, problem))

    def _problem(self, headers: Mapping[str, str], content: bytes) -> str | None:
        found = None
        for key in self._keys:
            try:
                verify(key, headers, content)
            except InvalidWebhook as error:
                found = str(error)
            else:
                return None
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _READ_SECONDS

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdigit() or int(length) > MAX_BYTES:
                    self.send_error(413)
                    return
                content = self.rfile.read(int(length))
                outer._take({name.lower(): value for name, value in self.headers.items()}, content)
                self.send_response(outer._status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler
