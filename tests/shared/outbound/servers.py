import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any


class Listener:
    """A server that counts its connections and lets a function speak on each, in a thread of its own."""

    def __init__(
        self, speak: Callable[[socket.socket], None] | None = None, host: str = "127.0.0.1", backlog: int = 16
    ) -> None:
        self.socket = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=backlog
        )
        self.port: int = self.socket.getsockname()[1]
        self.speak = speak
        self.connections = 0
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self._wake, self._wait = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _accept(self) -> None:
        while not self.over.is_set():
            ready, _, _ = select.select([self.socket, self._wait], [], [])
            if self.socket in ready:
                sock, _ = self.socket.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
                self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(10)
            if self.speak is not None:
                self.speak(sock)

    def hear(self, sock: socket.socket) -> bytes:
        """Reads one request, head and body."""
        heard = b""
        while b"\r\n\r\n" not in heard:
            piece = sock.recv(65536)
            if not piece:
                return heard
            heard += piece
        head, _, body = heard.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self) -> None:
        if self.over.is_set():
            return
        self.over.set()
        self._wake.send(b"x")
        for thread in self._threads:
            thread.join(12)
        for each in (self.socket, self._wake, self._wait):
            each.close()


def answering(status: str = "200 OK", body: bytes = b"hello", **headers: str) -> Callable[..., None]:
    """What makes a listener answer every request alike."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    def speak(listener: Listener, sock: socket.socket) -> None:
        if listener.hear(sock):
            sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)

    return speak


class Names:
    """A resolver of the tests' own: each look-up of a name gives the next of its answers, the last for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("__", "-").replace("_", "."): turns for name, turns in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, seconds: float) -> list[Any]:
        self.asked.append(host)
        if host not in self.answers:
            # What the system makes of odd spellings of an address.
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            return [ip_address(entry[4][0]) for entry in found]
        turns = self.answers[host]
        return [ip_address(text) for text in (turns.pop(0) if len(turns) > 1 else turns[0])]


def over_tls(context: ssl.SSLContext, speak: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def wrapped(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            speak(secure)

    return wrapped
