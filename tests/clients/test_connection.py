"""Where the sidecar is, and what may be sent there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.scripted_sidecar import ScriptedSidecar, Serving
from turnout import Client, Tls
from turnout.connection import Connection, connect, resolve_address
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
    connection = Connection(address=address, token="planted")

    assert connection.token_source().use().metadata() == (("authorization", "Bearer planted"),)


def test_a_token_does_not_leave_this_machine_in_plain_text() -> None:
    with pytest.raises(ValueError, match="plain text") as caught:
        Connection(address="host.example:1", token="planted")

    assert "planted" not in str(caught.value)


def test_a_token_may_go_anywhere_over_tls() -> None:
    assert Connection(address="host.example:1", token="planted", tls=Tls()).credentials is not None


def test_mutual_tls_needs_certificate_and_key() -> None:
    with pytest.raises(ValueError, match="both"):
        Connection(address="h:1", tls=Tls(certificate=b"pem"))


def test_what_is_given_goes_before_the_environment(tmp_path: Path) -> None:
    ca, token = tmp_path / "ca.pem", tmp_path / "token"
    ca.write_text("authority")
    token.write_text("from-a-file")
    environment = {"TURNOUT_TOKEN": "planted", "TURNOUT_CA_FILE": str(ca), "TURNOUT_SERVER_NAME": "sidecar.test"}

    found = connect("host.example:1", environment)
    assert found == Connection(
        address="host.example:1", token="planted", tls=Tls(ca=b"authority", server_name="sidecar.test")
    )
    found = connect("host.example:1", environment, token_file=str(token), tls=Tls())
    assert (found.token, found.token_file, found.tls) == ("", str(token), Tls())
    assert connect(None, {"TURNOUT_TOKEN_FILE": str(token)}).token_source().text == "from-a-file"


def test_a_socket_takes_the_token_of_the_environment_but_no_tls(tmp_path: Path) -> None:
    found = connect("unix:/run/t.sock", {"TURNOUT_TOKEN": "planted", "TURNOUT_CA_FILE": str(tmp_path / "none")})

    assert (found.token, found.tls) == ("planted", None)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TURNOUT_TOKEN": "planted", "TURNOUT_TOKEN_FILE": "/f"}, "TURNOUT_TOKEN and TURNOUT_TOKEN_FILE are both set"),
        ({"TURNOUT_CA_FILE": "/nonexistent/ca"}, "CA file /nonexistent/ca cannot be read: No such file"),
        ({"TURNOUT_CERT_FILE": "/dev/null"}, "one of certificate and key: mutual TLS needs both"),
        ({"TURNOUT_TOKEN_FILE": "/f", "TURNOUT_ADDRESS": "host.example:1"}, "in plain text"),
    ],
)
def test_an_environment_that_cannot_work_is_told(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        connect(None, environment)

    assert "planted" not in str(caught.value)


def test_a_token_and_a_file_with_one_are_not_both_taken() -> None:
    with pytest.raises(ValueError, match="both a token and a token file"):
        Connection(address="127.0.0.1:1", token="planted", token_file="/f")


def test_secrets_are_not_in_the_repr() -> None:
    connection = Connection(address="h:1", token="planted", tls=Tls(certificate=b"planted", key=b"planted"))

    assert "planted" not in repr(connection)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/run/t.sock"])
def test_a_connection_is_looked_after_every_20_s_and_given_up_after_10_s_without_an_answer(address: str) -> None:
    options = dict(Connection(address=address).options)

    assert options["grpc.keepalive_time_ms"] == 20_000
    assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"] == 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.max_pings_without_data"] == 0


def test_no_sidecar_is_told_as_unreachable() -> None:
    with Client("127.0.0.1:1", max_retry_count=0) as client, pytest.raises(UnreachableError):
        client.route()


def test_a_unix_socket_works(tmp_path: Path) -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("ProviderStatus", pb.ProviderStatusResponse())

    with Serving(sidecar, f"unix:{tmp_path}/t.sock"), Client(f"unix:{tmp_path}/t.sock") as client:
        client.status()

    assert sidecar.methods() == ["ProviderStatus"]
