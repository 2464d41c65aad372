"""Receivers of webhooks that behave as they are told: real servers on loopback, also for what no library would send."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[["Receiver", socket.socket, int], None]
"""Answers over a connection; the number says how many requests came before."""


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server on a free port of 127.0.0.1."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http{'s' if self.tls else ''}://{self.address}/hook?a=1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        with socket.socket() as knock:  # wakes the thread that accepts
            knock.connect_ex(("127.0.0.1", self.port))
        self._listener.close()

    def ids(self) -> list[str]:
        with self.lock:
            return [request.id for request in self.requests]

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(60)
            try:
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                head, _, body = self._head(connection).partition(b"\r\n\r\n")
                if not head:
                    return
                first, *lines = head.decode().split("\r\n")
                pairs = (line.split(": ", 1) for line in lines)
                headers = {name.lower(): value for name, value in pairs}
                while len(body) < int(headers.get("content-length", 0)):
                    body += connection.recv(65_536)
                with self.lock:
                    number = len(self.requests)
                    self.requests.append(Received(first.split()[1], headers, body, time.monotonic()))
                self.behaviour(self, connection, number)
            except OSError:
                return
            finally:
                connection.close()

    @staticmethod
    def _head(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65_536)
            if not more:
                return b""
            data += more
        return data


def answer(status: int, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Answers every request alike."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    def behave(receiver: Receiver, connection: socket.socket, number: int) -> None:
        connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)

    return behave


def hang(receiver: Receiver, connection: socket.socket, number: int) -> None:
    """Never says anything."""
    receiver.closed.wait(60)


def drop(receiver: Receiver, connection: socket.socket, number: int) -> None:
    """Hangs up."""


def babble(receiver: Receiver, connection: socket.socket, number: int) -> None:
    """Answers with what is not HTTP."""
    connection.sendall(b"HELLO FROM A MAIL SERVER\r\n\r\n")


def endless(status: int = 200) -> Behaviour:
    """Answers with a body that does not end."""

    def behave(receiver: Receiver, connection: socket.socket, number: int) -> None:
        connection.sendall(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        while not receiver.closed.is_set():
            connection.sendall(b"x" * 16_384)

    return behave


def unfinished(receiver: Receiver, connection: socket.socket, number: int) -> None:
    """Answers 200 and never comes to the end of its body."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    receiver.closed.wait(60)


def dribble(receiver: Receiver, connection: socket.socket, number: int) -> None:
    """Sends headers so slowly that they never end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not receiver.closed.wait(0.02):
        connection.sendall(b"x")


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behaves in these ways one after another, the last one for good."""

    def behave(receiver: Receiver, connection: socket.socket, number: int) -> None:
        behaviours[min(number, len(behaviours) - 1)](receiver, connection, number)

    return behave
