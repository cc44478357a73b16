"""Keeps provider calls on the public internet unless the operator allowed otherwise.

The check sits where a socket is about to be opened to a resolved address, so that what is checked is what is connected
to: a name that resolves to a private address, now or at the next look, leads nowhere.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that carry an IPv4 address in their last 32 bits (RFC 6052)."""

NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4, which are gone (RFC 7526)
        "64:ff9b:1::/48",  # NAT64 within one network (RFC 8215)
        "100::/64",  # discarded (RFC 6666)
        "2001::/23",  # protocol assignments, Teredo among them (RFC 2928, RFC 4380)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing within one network (RFC 9602)
    )
)
"""Of IANA's registers of special addresses, what older versions of Python take for public."""

OF_THE_PLATFORM = frozenset({IPv4Address("168.63.129.16")})
"""Addresses that count as public, but answer only the machines of a cloud, about themselves: Azure's WireServer. Those
of the other clouds (169.254.169.254, fd00:ec2::254, 100.100.100.200) are link-local, private or shared.
"""

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
"""One entry of `socket.getaddrinfo`."""


class AddressRefusedError(OSError):
    """An address that is not public, for a provider without `allow_private`."""


def is_public(address: str) -> bool:
    """Whether a textual IP address is reachable over the public internet: neither private, loopback, link-local,
    shared, reserved nor multicast, also not where an IPv4 address is wrapped in an IPv6 one.
    """
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in NAT64:
            inner = IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    if ip in OF_THE_PLATFORM or any(ip in network for network in NOT_PUBLIC):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def open_public_socket(info: AddressInfo, permitted: Callable[[str], bool] = is_public) -> socket.socket:
    """Opens an unconnected socket for a resolved address; AddressRefusedError if the address is not permitted."""
    family, kind, protocol, _, address = info
    if not permitted(str(address[0])):
        raise AddressRefusedError(
            errno.EACCES, "the address is private, loopback or link-local; allow_private would permit it"
        )
    return socket.socket(family=family, type=kind, proto=protocol)


def socket_factory(
    *, allow_private: bool, permitted: Callable[[str], bool] = is_public
) -> Callable[[AddressInfo], socket.socket] | None:
    """Returns what opens the sockets of a provider: None means any address. Without `allow_private` only those that
    are `permitted`, each by itself: of several answers of a name the others are left out.
    """
    return None if allow_private else partial(open_public_socket, permitted=permitted)
