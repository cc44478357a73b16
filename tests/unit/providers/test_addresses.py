from __future__ import annotations

import socket

import pytest

from turnout_server.providers.addresses import AddressRefusedError, is_public, open_public_socket, socket_factory


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.3.4", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_only_the_public_internet_is_public(address: str, *, public: bool) -> None:
    assert public is is_public(address)


def test_socket_to_a_private_address_is_not_opened() -> None:
    with pytest.raises(AddressRefusedError):
        open_public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443)))


def test_socket_to_a_public_address_is_opened() -> None:
    with open_public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))) as opened:
        assert socket.AF_INET == opened.family


def test_allowing_private_addresses_leaves_sockets_alone() -> None:
    assert socket_factory(allow_private=True) is None
