"""Nobody else may bind the port that the server listens on: two processes would each get some of the calls."""

import socket

import pytest

from tests.api.sidecar import Sidecar


async def test_a_port_that_is_listened_on_cannot_be_shared(sidecar: Sidecar) -> None:
    host, _, port = sidecar.bound.address.rpartition(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

        with pytest.raises(OSError, match="in use"):
            other.bind((host, int(port)))
