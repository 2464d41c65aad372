"""A socket under one deadline: however slowly the other side drips, the whole exchange ends in time.

A socket's own timeout starts anew with every byte, so each operation here gets only what is left.
"""

import io
import socket
import time
from collections.abc import Callable
from typing import Any

_SLICE_SECONDS = 0.5
_PIECE_BYTES = 65_536


class Deadline:
    """A moment by the steady clock.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: None are.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class TimedSocket:
    """As much of a socket as ``http.client`` asks for.

    Args:
        sock: A connected socket, plain or TLS.
        deadline: When everything ends.
        check: Called about twice a second while waiting; what it raises ends the exchange.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, check: Callable[[], None]) -> None:
        self._socket = sock
        self._deadline = deadline
        self._check = check

    def sendall(self, data: Any) -> None:
        """Sends all of the data."""
        view = memoryview(data)
        while view:
            view = view[self._patiently(self._socket.send, view[:_PIECE_BYTES]) :]

    def makefile(self, _mode: str = "rb", *_: Any) -> io.BufferedReader:
        """The stream of what comes."""
        return io.BufferedReader(_Incoming(self), _PIECE_BYTES)

    def receive_into(self, buffer: Any) -> int:
        """Receives what is there, or waits for it."""
        return self._patiently(self._socket.recv_into, buffer)

    def close(self) -> None:
        """Does nothing: ``http.client`` closes while it still reads, and the socket's owner closes it in the end."""

    def _patiently(self, operation: Callable[[Any], int], data: Any) -> int:
        while True:
            self._socket.settimeout(min(_SLICE_SECONDS, self._deadline.left()))
            try:
                return operation(data)
            except TimeoutError:
                self._check()


class _Incoming(io.RawIOBase):
    def __init__(self, source: TimedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(buffer)
