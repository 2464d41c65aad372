"""The URLs that may be called at all: http(s), no credentials, a host in its one canonical spelling.

Every other spelling of an address (decimal, octal, hexadecimal, short, with a trailing dot, in letters that only look
like digits) is refused instead of interpreted, so that no two programs can read one URL as two hosts.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from shared.errors import InvalidInput

MAX_URL_LENGTH = 8192

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?i)(https?)://([^/?#]+)([^#]*)(?:#.*)?\Z")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?\Z")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


@dataclass(frozen=True, slots=True)
class Target:
    """One URL, taken apart."""

    scheme: str
    """``http`` or ``https``."""
    host: str
    """In lower case; an IPv6 address without its brackets."""
    port: int
    path: str
    """What the request line says: path and query, percent-encoded, beginning with ``/``."""
    address: IPv4Address | IPv6Address | None
    """The address, where the host is one."""

    @property
    def netloc(self) -> str:
        """The host as a URL has it, an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def lane(self) -> str:
        """Host and port, ``example.com:443``."""
        return f"{self.netloc}:{self.port}"


def parse_target(url: str, field: str | None = None) -> Target:
    """Takes a URL apart.

    Args:
        url: The URL.
        field: Where it stood, for the error.

    Raises:
        InvalidInput: It is none that may be called.
    """

    def invalid(sentence: str) -> InvalidInput:
        return InvalidInput(sentence, field, "format")

    if len(url) > MAX_URL_LENGTH:
        raise invalid(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _UNSAFE.search(url):
        raise invalid("The URL holds white space, a control character or a backslash; percent-encode it.")
    found = _URL.match(url)
    if found is None:
        raise invalid("The URL must begin with http:// or https:// and a host.")
    scheme, authority, path = found[1].lower(), found[2], found[3]
    if "@" in authority:
        raise invalid("The URL must not hold a user name or a password.")
    if not authority.isascii():
        raise invalid("The URL's host must be in its ASCII form (xn--…).")
    parts = _AUTHORITY.match(authority)
    if parts is None:
        raise invalid("The URL's host or port is malformed.")
    host, port = parts[1].lower(), int(parts[2]) if parts[2] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise invalid("The URL's port must be from 1 to 65535.")
    address = _literal(host)
    if address is None and not _is_name(host):
        raise invalid(
            "The URL's host is neither a name nor an address in its usual spelling (192.0.2.1, [2001:db8::1])."
        )
    path = quote(path, safe="!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~")
    return Target(
        scheme, str(address) if address is not None else host, port, path if path[:1] == "/" else f"/{path}", address
    )


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return IPv6Address(host[1:-1]) if host[0] == "[" else IPv4Address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    # A last label that reads as a number makes resolvers take the whole for an address.
    return len(host) <= 253 and bool(_NAME.match(host)) and not _NUMBER.match(host.rpartition(".")[2])
