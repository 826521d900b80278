"""Which addresses may be connected to."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.inputs.guard import Network, is_permitted, parse_address

FORBIDDEN: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16"),
        *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::ffff:0:0:0/96"),
    )
)


@st.composite
def inside(draw: st.DrawFn, networks: tuple[Network, ...]) -> str:
    network = draw(st.sampled_from(networks))
    offset = draw(st.integers(0, network.num_addresses - 1))
    return str(network[offset])


@settings(deadline=None)
@given(inside(FORBIDDEN))
def test_no_address_of_a_forbidden_network_passes(text: str) -> None:
    assert not is_permitted(parse_address(text))


@settings(deadline=None)
@given(inside(tuple(network for network in FORBIDDEN if network.version == 4)))
def test_an_ipv4_address_in_ipv6_dress_is_no_better(text: str) -> None:
    number = int(IPv4Address(text))
    for prefix in ("::ffff:0:0", "64:ff9b::", "::", "::ffff:0:0:0"):
        assert not is_permitted(parse_address(str(IPv6Address(int(IPv6Address(prefix)) + number))))
    assert not is_permitted(IPv6Address((0x2002 << 112) + (number << 80)))


@settings(deadline=None)
@given(inside(FORBIDDEN))
def test_an_allowed_network_is_the_only_exception(text: str) -> None:
    address = parse_address(text)
    own: Network = IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)
    assert is_permitted(address, (own,))
    assert not is_permitted(address, tuple(n for n in FORBIDDEN if address not in n))


@settings(deadline=None)
@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_passes(address: IPv6Address) -> None:
    mapped = address.ipv4_mapped is not None
    assert mapped or address in IPv6Network("2000::/3") or not is_permitted(parse_address(str(address)))


@pytest.mark.parametrize("text", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:1.1.1.1"])
def test_public_addresses_pass(text: str) -> None:
    assert is_permitted(parse_address(text))


def test_a_mapped_address_is_judged_and_connected_to_as_ipv4() -> None:
    assert parse_address("::ffff:127.0.0.1") == IPv4Address("127.0.0.1")
    assert is_permitted(parse_address("::ffff:127.0.0.1"), (IPv4Network("127.0.0.0/8"),))


def test_a_link_local_address_with_its_zone_is_refused() -> None:
    assert not is_permitted(parse_address("fe80::1%eth0"))
