"""Resolves names within a time limit, which the system's resolver does not know."""

import queue
import socket
import threading
import time
from collections.abc import Sequence
from ipaddress import ip_address

from shared.outbound.addresses import Address

_LOOKUPS = threading.BoundedSemaphore(256)
"""Bounds the threads that hang in the system's resolver after their time limit has passed."""


def resolve(host: str, seconds: float) -> Sequence[Address]:
    """The addresses of a host, in the order in which to try them.

    Raises:
        TimeoutError: The resolver did not answer in time.
        OSError: The name does not resolve.
    """
    until = time.monotonic() + seconds
    if not _LOOKUPS.acquire(timeout=seconds):
        raise TimeoutError
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            texts = [str(entry[4][0]).partition("%")[0] for entry in found]
            answers.put([ip_address(text) for text in dict.fromkeys(texts)])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError("not a name"))
        finally:
            _LOOKUPS.release()

    # A daemon: one that hangs keeps no process from ending.
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer
