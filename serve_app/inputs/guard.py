"""Which network addresses a stranger's URL may lead to. Judges addresses, and names only where they stand for one.

`ipaddress.is_global` is True for NAT64, 6to4, v4-compatible and multicast addresses and for Azure's
168.63.129.16, so the tables here decide: the IANA special-purpose registries and that address.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host services
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is given out as global unicast. Outside it lie ::/96, NAT64, ULA, link-local and multicast."""
DENIED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "3fff::/20",  # documentation
    )
)


def parse_address(text: str) -> Address:
    """An address as the resolver writes it; a v4-mapped one becomes the IPv4 address it stands for.

    Raises ValueError for what is not an address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def written_address(host: str) -> Address | None:
    """The address that a URL's host spells itself, in any form that a resolver reads; None for what has to be asked."""
    name = host.removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return IPv4Address("127.0.0.1")
    with suppress(ValueError):
        return parse_address(name)
    with suppress(OSError, ValueError):  # 127.1, 0x7f.1, 2130706433
        return IPv4Address(socket.inet_aton(name))
    return None


def is_permitted(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether a connection may go to this address, which `parse_address` made; `allowed` are exceptions."""
    return any(address in network for network in allowed) or _is_public(address)


def _is_public(address: Address) -> bool:
    if not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in DENIED_V4)
    return address in GLOBAL_V6 and not any(address in network for network in DENIED_V6)
