"""Takes webhooks, well or badly, and serves images; what arrives is checked by the Standard Webhooks rules and kept."""

import base64
import hashlib
import hmac
import json
import random
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.chaos.clients import TERMINAL, png
from benchmarks.chaos.history import History


class Receiver:
    """One server on loopback; ``told`` is called with the id of each job of whose end it hears.

    Args:
        history: Where deliveries are written.
        seed: Decides how the path ``/hook/bad`` fails.
    """

    def __init__(self, history: History, seed: int) -> None:
        self.secrets: list[str] = []
        self.told: Callable[[str], None] = lambda job_id: None
        self.is_well = False
        dice, outer = random.Random(seed), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = re.fullmatch(r"/image/(\d+)\.png", self.path)
                if not outer.is_well and dice.random() < 0.1:
                    self._answer(503, b"")
                elif found:
                    self._answer(200, png(int(found[1])))
                else:
                    self._answer(404, b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fate = (
                    "ok"
                    if outer.is_well or self.path != "/hook/bad"
                    else dice.choice(("ok", "500", "drop", "hang", "301"))
                )
                job = json.loads(body)
                history.add(
                    "hook", id=job["id"], hook=self.headers["webhook-id"], status=job["status"], output=job["output"],
                    signed=outer._is_signed(dict(self.headers.items()), body), fate=fate,
                )  # fmt: skip
                if fate == "ok" and job["status"] in TERMINAL:
                    outer.told(job["id"])
                if fate == "hang":
                    time.sleep(5)
                if fate in ("drop", "hang"):
                    self.close_connection = True
                elif fate == "301":
                    self.send_response(301)
                    self.send_header("Location", "/hook/good")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self._answer(500 if fate == "500" else 200, b"")

            def log_message(self, format: str, *args: object) -> None:
                return

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                return  # callers are killed in the middle of a request

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        found = {name.lower(): value for name, value in headers.items()}
        text = f"{found['webhook-id']}.{found['webhook-timestamp']}.".encode() + body
        given = [part.partition(",")[2] for part in found["webhook-signature"].split()]
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("whsec_"))
            right = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
            if right in given:
                return True
        return False
