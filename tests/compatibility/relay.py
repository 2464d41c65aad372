import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Relay:
    """Hands requests on to a service, and cuts the connection in place of the first replies to a POST.

    Args:
        target: The service's address.
        cuts: How many replies never arrive.
    """

    def __init__(self, target: str, cuts: int) -> None:
        self.posts: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                reply = requests.request(
                    self.command, target + self.path, data=body, headers=dict(self.headers), timeout=30
                )
                if self.command == "POST":
                    outer.posts.append({name.lower(): value for name, value in self.headers.items()})
                    if len(outer.posts) <= cuts:
                        self.close_connection = True
                        return
                self.send_response(reply.status_code)
                self.send_header("Content-Type", reply.headers.get("Content-Type", ""))
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)

            do_GET = do_POST = relay

            def log_message(self, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
