"""Which addresses are the public internet: everything else is refused unless an administrator names its network.

IPv6 is closed but for the part that is handed out for global use. An address that carries an IPv4 address in itself is
judged by both, whichever of the ways to write it in is used.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.123",
        "169.254.169.253",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::123",
        "fd00:ec2::253",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
"""Where clouds give credentials and facts away; only an entry of its own opens one, never a network that holds it."""
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class Addresses:
    """The addresses that may be reached.

    Args:
        networks: Networks in CIDR notation that are open beside the public internet.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(text) for text in networks)

    def permits(self, address: Address) -> bool:
        """Whether an address may be reached, and every address that it carries."""
        address = unmapped(address)
        return all(self._permits(one) for one in (address, *_carried(address)))

    def names(self, address: Address) -> bool:
        """Whether a network of the setting holds an address."""
        return any(address.version == network.version and address in network for network in self._networks)

    def _permits(self, address: Address) -> bool:
        if address in _METADATA:
            return any(network.num_addresses == 1 and address in network for network in self._networks)
        return self.names(address) or _is_public(address)


def unmapped(address: Address) -> Address:
    """The IPv4 address that the system connects to where an IPv6 address only stands for one."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address in _NAT64:
        return True  # as public as what it carries
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def _carried(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address is translated to or tunneled to."""
    if isinstance(address, IPv4Address):
        return []
    value, low = int(address), int(address) & 0xFFFF_FFFF
    found = []
    if address in _NAT64 or address in _LOCAL_NAT64 or address in _TRANSLATED or 1 < value <= 0xFFFF_FFFF:
        found.append(low)
    if value >> 32 & 0xFFFF_FFFF in _ISATAP:
        found.append(low)
    if address.sixtofour is not None:
        found.append(int(address.sixtofour))
    if address.teredo is not None:
        found += map(int, address.teredo)
    return [IPv4Address(number) for number in found]
