"""Judges where a request may go, once by the URL and once by what its host resolves to."""

from collections.abc import Callable, Collection, Sequence

import structlog

from shared.errors import InvalidInput
from shared.outbound.addresses import Address, Addresses, unmapped
from shared.outbound.target import Target, parse_target
from shared.settings import Settings

log = structlog.get_logger(__name__)

_WEB_PORTS = (80, 443)


class TargetRefused(Exception):
    """Raised when a request may not go where it is meant to, now or later; its text is a sentence without addresses."""


class Guard:
    """Knows the networks of the setting and the addresses that are registered for now.

    Args:
        settings: The process's settings.
        allowed: Gives the exact loopback addresses, ``127.0.0.1:8099``, that an administrator registered.
    """

    def __init__(self, settings: Settings, allowed: Callable[[], Collection[str]] = tuple) -> None:
        self._addresses = Addresses(settings.outgoing.allowed_networks)
        self._allowed = allowed

    def check(self, target: Target, found: Sequence[Address]) -> list[Address]:
        """The addresses to connect to, of those that a target's host resolved to.

        Raises:
            TargetRefused: One of them may not be reached: a name with two faces is not trusted with either.
        """
        for address in found:
            if not self.permits(target, address):
                log.warning("an outgoing request was refused", host=target.host, port=target.port, address=str(address))
                raise TargetRefused(_closed(target))
        return [unmapped(address) for address in found]

    def permits(self, target: Target, found: Address) -> bool:
        """Whether a request may go to one address of a target."""
        address = unmapped(found)
        if not self._addresses.permits(found):
            is_loopback = target.address == address and address.is_loopback
            return is_loopback and target.lane in self._allowed()
        # Below 1024 there are no web servers but on two ports, and mail, names and shells on others.
        return target.port >= 1024 or target.port in _WEB_PORTS or self._addresses.names(address)


def lane_of(url: str, guard: Guard | None = None, field: str | None = None) -> str:
    """The lane of a URL, ``example.com:443``.

    Args:
        url: The URL, as a caller gave it.
        guard: Refuses addresses that may not be reached, where the URL has one in place of a name; names are resolved
            when the request is made, not here.
        field: Where the URL stood, for the error.

    Raises:
        InvalidInput: It is none that we may ever call.
    """
    target = parse_target(url, field)
    if guard is not None and target.address is not None and not guard.permits(target, target.address):
        raise InvalidInput(_closed(target), field, "format")
    return target.lane


def _closed(target: Target) -> str:
    """Says that a target may not be reached; of what its host resolves to it says nothing."""
    return (
        f"The host {target.netloc} may not be reached from this server on port {target.port}; "
        "an administrator can open its network with outgoing.allowed_networks."
    )
