"""Where the sidecar is, and what may be sent there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.scripted_sidecar import ScriptedSidecar, Serving
from turnout import Client, Tls
from turnout.connection import Connection, resolve_address
from turnout.errors import UnreachableError
from turnout.v1 import router_pb2 as pb


def test_address_given_goes_before_the_environment_before_the_default() -> None:
    environment = {"TURNOUT_ADDRESS": "unix:/run/turnout.sock"}

    assert resolve_address("host:1", environment) == "host:1"
    assert resolve_address(None, environment) == "unix:/run/turnout.sock"
    assert resolve_address(None, {}) == "127.0.0.1:50151"


@pytest.mark.parametrize("address", ["host:50151", "127.0.0.1:1", "[::1]:65535", "unix:/run/t.sock", "unix:///run/t"])
def test_addresses_that_can_work_are_taken(address: str) -> None:
    assert Connection(address=address).address == address


@pytest.mark.parametrize("address", ["host", "host:", ":50151", "host:x", "h:0", "h:65536", "http://h:1", "unix:"])
def test_addresses_that_cannot_work_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"give host:port or unix:/path"):
        Connection(address=address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/t.sock"])
def test_a_token_may_go_in_plain_text_on_this_machine(address: str) -> None:
    assert Connection(address=address, token="planted").metadata == (("authorization", "Bearer planted"),)


def test_a_token_does_not_leave_this_machine_in_plain_text() -> None:
    with pytest.raises(ValueError, match="plain text") as caught:
        Connection(address="host.example:1", token="planted")

    assert "planted" not in str(caught.value)


def test_a_token_may_go_anywhere_over_tls() -> None:
    assert Connection(address="host.example:1", token="planted", tls=Tls()).credentials is not None


def test_mutual_tls_needs_certificate_and_key() -> None:
    with pytest.raises(ValueError, match="both"):
        Connection(address="h:1", tls=Tls(certificate=b"pem"))


def test_secrets_are_not_in_the_repr() -> None:
    connection = Connection(address="h:1", token="planted", tls=Tls(certificate=b"planted", key=b"planted"))

    assert "planted" not in repr(connection)


def test_no_sidecar_is_told_as_unreachable() -> None:
    with Client("127.0.0.1:1", max_retry_count=0) as client, pytest.raises(UnreachableError):
        client.route()


def test_a_unix_socket_works(tmp_path: Path) -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("ProviderStatus", pb.ProviderStatusResponse())

    with Serving(sidecar, f"unix:{tmp_path}/t.sock"), Client(f"unix:{tmp_path}/t.sock") as client:
        client.status()

    assert sidecar.methods() == ["ProviderStatus"]
