"""A plain socket to the server: the scripts, and the check of everything they keep, in one round trip."""

import socket
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import hiredis

TAG = "headrace:{a}"
CHECK = Path(__file__).with_name("check.lua")

PlantedBug = Sequence[tuple[str, str, str]]
"""Replacements in the scripts: name, old text, new text."""


@cache
def _texts() -> dict[str, str]:
    scripts = files("shared.jobs").joinpath("scripts")
    return {entry.name.removesuffix(".lua"): entry.read_text("utf-8") for entry in scripts.iterdir()}


def scripts(bug: PlantedBug = ()) -> dict[str, str]:
    """The whole text of every script, with a bug planted; the check itself is always sound."""
    texts = dict(_texts())
    check = CHECK.read_text("utf-8").replace("--@lib", texts["lib"], 1)
    for name, old, new in bug:
        if old not in texts[name]:
            raise LookupError(f"{name}.lua has no {old!r}: the planted bug hits nothing")
        texts[name] = texts[name].replace(old, new)
    head = texts.pop("lib")
    return {name: text.replace("--@lib", head, 1) for name, text in texts.items()} | {"check": check}


class Wire:
    """One connection; messages of subscribed channels arrive between the replies, in order.

    Args:
        port: Where the server listens on loopback.
        bug: A bug to plant in the scripts.
    """

    def __init__(self, port: int, bug: PlantedBug = ()) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self.messages: list[tuple[str, str]] = []
        self.do("HELLO", "3")
        self._digests = {name: self.do("SCRIPT", "LOAD", text).decode() for name, text in scripts(bug).items()}

    def close(self) -> None:
        self._socket.close()

    def script(self, name: str, *args: Any) -> tuple[Any, ...]:
        """The command that runs a script; the first argument is the clock."""
        return ("EVALSHA", self._digests[name], 1, TAG, *args)

    def send(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Sends commands together; errors are among the replies."""
        self._socket.sendall(b"".join(hiredis.pack_command(command) for command in commands))
        return [self._next() for _ in commands]

    def do(self, *command: Any) -> Any:
        """Sends one command; raises its error."""
        (reply,) = self.send(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def call(self, name: str, *args: Any) -> Any:
        """Runs one script, the clock first; replies as text."""
        return text(self.do(*self.script(name, *args)))

    def subscribe(self, *channels: str) -> None:
        """Listens to channels; their messages gather in ``messages``."""
        subscription: tuple[Any, ...] = ("SUBSCRIBE", *channels)
        self._socket.sendall(hiredis.pack_command(subscription) + hiredis.pack_command(("PING",)))
        self._next()
        self.messages.clear()

    def _next(self) -> Any:
        while True:
            while (reply := self._reader.gets()) is False:
                received = self._socket.recv(1 << 16)
                if not received:
                    raise ConnectionError("the server closed the connection")
                self._reader.feed(received)
            if not isinstance(reply, hiredis.PushNotification):
                return reply
            if reply[0] == b"message":
                self.messages.append((reply[1].decode(), reply[2].decode()))


def text(reply: Any) -> Any:
    """A reply with its bytes as text."""
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, list):
        return [text(item) for item in reply]
    if isinstance(reply, dict):
        return {text(name): text(value) for name, value in reply.items()}
    return reply
