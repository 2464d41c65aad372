"""The one client for requests to other servers, which go where a guard lets them and end when they are told to.

Every address that a host resolves to is checked, and the connection goes to a checked one: a name that changes its
answer between check and use gains nothing. There are no redirects, proxies, cookies or credentials, and what is read
is bounded in bytes and in time.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from shared.errors import InvalidInput, Unavailable
from shared.outbound.addresses import Address
from shared.outbound.guard import Guard, TargetRefused, lane_of
from shared.outbound.resolving import resolve
from shared.outbound.target import Target, parse_target
from shared.outbound.timed_socket import Deadline, TimedSocket
from shared.settings import Settings

__all__ = ["FileTooLarge", "Guard", "HttpClient", "HttpFailed", "Reply", "TargetRefused", "lane_of", "tls_context"]

CHECK_SECONDS = 0.5
_PIECE_BYTES = 65_536
_TRANSIENT = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """The first bytes, at most as many as were asked for; empty for a download."""
    seconds: float
    """How long it took, look-up and connection included."""


class HttpFailed(Exception):
    """Raised when a request got no good answer; its text is a sentence that names the host and nothing else of the URL.

    Args:
        sentence: What happened.
        status: What the server answered, if it did.
        is_permanent: Whether another attempt would end the same.
        retry_after: The server's ``Retry-After``, as it came.
    """

    def __init__(
        self, sentence: str, *, status: int | None = None, is_permanent: bool = False, retry_after: str | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.is_permanent = is_permanent
        self.retry_after = retry_after


class FileTooLarge(HttpFailed):
    """Raised when a download is larger than it may be."""


class Sink(Protocol):
    """Where a download goes."""

    def write(self, data: bytes, /) -> int:
        """Takes the next piece."""


class HttpClient:
    """Makes requests, each over a connection of its own; usable from many threads.

    Args:
        settings: The process's settings.
        allowed: Gives the exact loopback addresses, ``127.0.0.1:8099``, that an administrator registered for now.
        resolve: Looks a name up within so many seconds.
    """

    def __init__(
        self,
        settings: Settings,
        allowed: Callable[[], Collection[str]] = tuple,
        resolve: Callable[[str, float], Sequence[Address]] = resolve,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self.guard = Guard(settings, allowed)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Reply:
        """Makes a request; any status is an answer, a redirect too.

        Args:
            method: ``POST``, for example.
            url: Where to.
            headers: Beside those that make up the protocol.
            body: What to send.
            timeout_seconds: How long all of it may take.
            max_bytes: How much of the answer's body to read; the rest is left.

        Raises:
            TargetRefused: It may not go there.
            HttpFailed: There was no whole answer in time; has the status if that came.
            Unavailable: Our own certificates cannot be read.
        """
        began = time.monotonic()
        with self._answer(method, url, headers or {}, body, timeout_seconds, lambda: None) as response:
            read = bytearray()
            while len(read) < max_bytes and (piece := response.read1(min(_PIECE_BYTES, max_bytes - len(read)))):
                read += piece
            if len(read) < max_bytes:
                _check_whole(response)
        return Reply(response.status, _headers(response), bytes(read[:max_bytes]), time.monotonic() - began)

    def download(
        self,
        url: str,
        into: Sink,
        *,
        timeout_seconds: float,
        max_bytes: int,
        check: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Gets a file, in pieces.

        Args:
            url: Where from.
            into: Where to.
            timeout_seconds: How long all of it may take.
            max_bytes: The largest file.
            check: Called at least twice a second, unless the name or the connection keeps waiting; what it raises
                ends the download.

        Raises:
            TargetRefused: It may not be reached.
            HttpFailed: It did not come whole with status 200, within the time and the size.
        """
        began = time.monotonic()
        with self._answer("GET", url, {"Accept": "*/*"}, None, timeout_seconds, check) as response:
            host = parse_target(url).netloc
            if response.status != 200:
                is_permanent = response.status < 500 and response.status not in _TRANSIENT
                what = ", a redirect, which is not followed" if 300 <= response.status < 400 else ""
                raise HttpFailed(
                    f"The host {host} answered {response.status}{what}.",
                    status=response.status,
                    is_permanent=is_permanent,
                    retry_after=response.headers.get("Retry-After"),
                )
            too_large = FileTooLarge(
                f"The file at {host} is larger than {max_bytes} bytes.", status=200, is_permanent=True
            )
            if (response.length or 0) > max_bytes:
                raise too_large
            size, checked = 0, began
            while piece := response.read1(_PIECE_BYTES):
                size += len(piece)
                if size > max_bytes:
                    raise too_large
                into.write(piece)
                if time.monotonic() - checked > CHECK_SECONDS:
                    check()
                    checked = time.monotonic()
            _check_whole(response)
        return Reply(response.status, _headers(response), b"", time.monotonic() - began)

    @contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
        check: Callable[[], None],
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, its body still to be read; closes the connection afterwards."""
        try:
            target = parse_target(url)
        except InvalidInput as error:
            raise TargetRefused(error.detail) from error
        response: http.client.HTTPResponse | None = None
        try:
            deadline = Deadline(timeout_seconds)
            sock = self._connect(target, deadline)
            try:
                connection = _Connection(target, TimedSocket(sock, deadline, check))
                fields = {"User-Agent": "headrace", **headers, "Connection": "close"}
                # A server may answer and hang up before it has read the whole body.
                with suppress(BrokenPipeError):
                    connection.request(method, target.path, body, fields)
                response = connection.getresponse()
                yield response
            finally:
                sock.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            status = response.status if response is not None else None
            raise HttpFailed(_sentence(target, error, timeout_seconds), status=status) from error

    def _connect(self, target: Target, deadline: Deadline) -> socket.socket:
        """A connection to a checked address of the target, TLS included."""
        found = [target.address] if target.address is not None else self._resolve(target.host, deadline.left())
        addresses = self.guard.check(target, found)
        failure: OSError = OSError("its name has no address")
        for number, address in enumerate(addresses):
            # An address that swallows everything leaves time for those behind it.
            share = deadline.left() / (len(addresses) - number)
            try:
                sock = socket.create_connection((str(address), target.port), timeout=share)
            except OSError as error:
                failure = error
                continue
            if target.scheme == "http":
                return sock
            try:
                sock.settimeout(deadline.left())
                return self._tls.wrap_socket(sock, server_hostname=target.host)
            except BaseException:
                sock.close()
                raise
        raise failure

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls_context(self._settings)


class _Connection(http.client.HTTPConnection):
    """One exchange over a socket that is connected already; ``Host`` names the target, not the address."""

    auto_open = 0

    def __init__(self, target: Target, sock: Any) -> None:
        super().__init__(target.netloc, target.port)
        self.default_port = 443 if target.scheme == "https" else 80
        self.sock = sock


def tls_context(settings: Settings) -> ssl.SSLContext:
    """What verifies servers: the system's authorities, and the setting's.

    Raises:
        Unavailable: The setting's cannot be read.
    """
    context = ssl.create_default_context()
    if settings.outgoing.ca_file is not None:
        try:
            context.load_verify_locations(settings.outgoing.ca_file.expanduser())
        except OSError as error:  # TLS errors are such, too
            raise Unavailable(
                f"The certificates of outgoing.ca_file cannot be read: {error.strerror or error}."
            ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_whole(response: http.client.HTTPResponse) -> None:
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _sentence(target: Target, error: Exception, timeout_seconds: float) -> str:
    host = f"The host {target.netloc}"
    match error:
        case TimeoutError():
            return f"{host} did not answer within {timeout_seconds:g} s."
        case ssl.SSLCertVerificationError():
            return f"{host} has a certificate that is not valid: {error.verify_message}."
        case ssl.SSLError():
            return f"{host} does not speak TLS as it should: {error.reason or 'the connection broke'}."
        case socket.gaierror():
            return f"{host} has a name that does not resolve."
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return f"{host} hung up without an answer."
        case http.client.IncompleteRead():
            return f"{host} hung up before its answer was complete."
        case OSError():
            return f"{host} cannot be reached: {error.strerror or error}."
        case _:
            return f"{host} answered with what is not HTTP."
