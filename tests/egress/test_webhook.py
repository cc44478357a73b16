"""Alarms of a real sidecar, posted to a real server: signed, tried again, and only where they may go."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from contextlib import suppress
from pathlib import Path

import grpc
import orjson
import pytest

from tests.api.sidecar import HELLO
from tests.cli.processes import configuration, simulated
from tests.wire.scripted_server import Head, Script, ScriptedServer, scripted_server
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load
from turnout_server.ports import UpstreamError
from turnout_server.telemetry.webhook import WebhookKeyError
from turnout_server.webhook_transport import WebhookTransport

GENEROUS_SECONDS = 60
KEY = "a key of the operator's"
REFUSED: Script = (Head(status=429, headers=(("content-type", "application/json"), ("retry-after", "600"))), b"{}")


def empty(status: int) -> Script:
    return (Head(status=status, headers=(), length=0),)


async def requests_of(server: ScriptedServer, count: int) -> None:
    async with asyncio.timeout(GENEROUS_SECONDS):
        while len(server.requests) < count:
            server.requested.clear()
            await server.requested.wait()


async def test_an_alarm_is_posted_signed_and_posted_again_until_it_is_taken(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    async with scripted_server() as provider, scripted_server() as receiver:
        provider.scripts += [REFUSED] * 10
        receiver.scripts += [empty(503), *[empty(204)] * 10]
        alerts = (
            f"alerts: {{webhook_url: '{receiver.url}/alarms', webhook_secret_file: {key_file}, "
            "webhook_allow_private: true, webhook_allow_insecure: true}\n"
        )
        providers = simulated({"north": provider.url}) + "    api_key_env: NORTH_KEY\n"
        environ = {"NORTH_KEY": "planted-key-of-north"}
        loaded = load(configuration(tmp_path, alerts + providers), environ)
        async with running(loaded, environ) as listening, grpc.aio.insecure_channel(listening.grpc[0]) as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            for _ in range(2):
                with suppress(grpc.aio.AioRpcError):
                    await stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=GENEROUS_SECONDS)
            await requests_of(receiver, 2)

    first, second = receiver.requests[:2]
    names = [event["name"] for event in orjson.loads(first.body)["data"]["events"]]
    signed = f"{second.headers['webhook-id']}.{second.headers['webhook-timestamp']}.".encode() + second.body
    expected = base64.b64encode(hmac.new(KEY.encode(), signed, hashlib.sha256).digest()).decode()
    assert (first.method, first.path) == ("POST", "/alarms")
    assert names == ["unavailable"]
    assert "planted" not in first.body.decode()
    assert (second.body, second.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])
    assert second.headers["webhook-signature"] == f"v1,{expected}"


async def test_a_private_address_is_not_posted_to_unless_that_is_meant() -> None:
    async with scripted_server() as receiver:
        # A name, so that what refuses it is the look at what it resolves to.
        transport = WebhookTransport(f"http://localhost:{receiver.port}/", "", allow_private=False)
        with pytest.raises(UpstreamError, match="private"):
            await transport.post({}, b"{}")
        await transport.aclose()

    assert receiver.requests == []


async def test_a_redirect_is_not_followed() -> None:
    async with scripted_server() as receiver, scripted_server() as other:
        receiver.scripts.append((Head(status=302, headers=(("location", other.url),), length=0),))
        transport = WebhookTransport(f"{receiver.url}/", "", allow_private=True)
        status = await transport.post({}, b"{}")
        await transport.aclose()

    assert status == 302
    assert other.requests == []


async def test_a_key_that_is_gone_signs_nothing_and_says_so(tmp_path: Path) -> None:
    transport = WebhookTransport("https://alarms.example/", str(tmp_path / "gone"), allow_private=False)
    with pytest.raises(WebhookKeyError, match="gone"):
        transport.key()
    await transport.aclose()
