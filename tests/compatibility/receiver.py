import io
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


class Receiver:
    """Takes webhooks at any path and shows at the same path, as JSON, what it was sent; has an image to fetch, too."""

    def __init__(self) -> None:
        white = io.BytesIO()
        Image.new("RGB", (8, 8), "white").save(white, "PNG")
        self.image = white.getvalue()
        self.deliveries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.deliveries[self.path].append({"headers": headers, "body": body})
                self._answer(b"{}")

            def do_GET(self) -> None:
                if self.path == "/bright.png":
                    self._answer(outer.image, "image/png")
                    return
                self._answer(json.dumps(outer.deliveries[self.path]).encode())

            def _answer(self, content: bytes, kind: str = "application/json") -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
