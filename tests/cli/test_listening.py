"""Tokens and TLS from the command line: `serve` on the one side, the other commands on the other."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from tests.certificates import NEEDS_OPENSSL, self_signed, signed
from tests.cli.processes import configuration, serving
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.commands.forget import forget
from turnout_server.commands.status import status

CALL, ADMIN, WRONG = "planted-call-token-01", "planted-admin-token-01", "planted-wrong-token-01"

pytestmark = NEEDS_OPENSSL


def listening(folder: Path) -> str:
    (folder / "call").write_text(CALL)
    authority = self_signed(folder, "authority")
    server, client = signed(authority, folder, "server"), signed(authority, folder, "client", "DNS:app.example")
    assert client.cert != server.cert
    tls = f"{{cert_file: {server.cert_file}, key_file: {server.key_file}, client_ca_file: {authority.cert_file}}}"
    tokens = f"[{{token_file: {folder}/call, tenant: acme}}, {{token_env: ADMIN_TOKEN, role: admin}}]"
    text = f'listen: {{address: "127.0.0.1:0", socket: {folder}/t.sock, tls: {tls}, auth: {{tokens: {tokens}}}}}\n'
    file = configuration(folder, "")
    Path(file).write_text(Path(file).read_text().replace('listen: {address: "127.0.0.1:0"}\n', text))
    return file


def test_no_token_shows_anywhere_and_commands_show_theirs(tmp_path: Path) -> None:
    file = listening(tmp_path)
    access = ["--ca-file", f"{tmp_path}/authority.pem", "--cert-file", f"{tmp_path}/client.pem"]
    access += ["--key-file", f"{tmp_path}/client.key"]
    env = {"ADMIN_TOKEN": ADMIN, "TURNOUT_LOG_LEVEL": "debug"}
    with serving(["serve", "-c", file, "--json"], env) as server:
        address, unix = server.line["grpc"]
        with grpc.insecure_channel(unix) as channel:
            for sent in (f"Bearer {WRONG}", f"Basic {WRONG}", f"Bearer {CALL}"):
                request = pb.RouteRequest(caller=pb.Caller(tenant="other"))
                with pytest.raises(grpc.RpcError) as refused:
                    router_pb2_grpc.RouterServiceStub(channel).Route(
                        request, metadata=(("authorization", sent),), timeout=30
                    )
                assert "planted" not in str(refused.value)
        # Handshakes that fail leave no line in the log, which is JSON throughout: nothing but gRPC would write it.
        trusting = grpc.ssl_channel_credentials((tmp_path / "authority.pem").read_bytes())
        elsewhere = (("grpc.ssl_target_name_override", "elsewhere.example"),)
        for odd in (grpc.insecure_channel(address), grpc.secure_channel(address, trusting, elsewhere)):
            with odd as channel, pytest.raises(grpc.RpcError):
                router_pb2_grpc.RouterServiceStub(channel).Route(pb.RouteRequest(), timeout=30)
        shell = CliRunner()
        looked = shell.invoke(status, ["--address", address, *access])
        changed = shell.invoke(forget, ["--yes", "--address", address, *access], env={"TURNOUT_TOKEN": ADMIN})
        call_file = {"TURNOUT_TOKEN_FILE": f"{tmp_path}/call"}
        by_file = shell.invoke(forget, ["--yes", "--address", unix], env=call_file)
        with urllib.request.urlopen(f"http://{server.line['metrics']}/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        server.stop()

    assert (looked.exit_code, changed.exit_code, by_file.exit_code) == (0, 0, 1)
    assert "PERMISSION_DENIED: AdminService/ClearHistory needs a token of role admin" in by_file.output
    log = [json.loads(line) for line in server.log]
    assert [line["reason"] for line in log if line["event"] == "api.refused"] == [
        "unauthenticated",
        "permission_denied",
    ]
    assert "planted" not in "".join((*server.log, metrics, looked.output, by_file.output))
