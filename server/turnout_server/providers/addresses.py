"""Keeps provider calls on the public internet unless the operator allowed otherwise.

The check sits where a socket is about to be opened to a resolved address, so that what is checked is what is connected
to: a name that resolves to a private address, now or at the next look, leads nowhere.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that carry an IPv4 address in their last 32 bits (RFC 6052)."""

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
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def open_public_socket(info: AddressInfo) -> socket.socket:
    """Opens an unconnected socket for a resolved address; AddressRefusedError if the address is not public."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise AddressRefusedError(
            errno.EACCES, "the address is private, loopback or link-local; allow_private would permit it"
        )
    return socket.socket(family=family, type=kind, proto=protocol)


def socket_factory(*, allow_private: bool) -> Callable[[AddressInfo], socket.socket] | None:
    """Returns what opens the sockets of a provider: None means any address."""
    return None if allow_private else open_public_socket
