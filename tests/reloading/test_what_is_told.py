"""A sidecar that works takes another address for its alarms, and other rules for its lines of calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.reloading.following import LONG_SECONDS, Following, following, provider, written
from tests.wire.scripted_server import Head, Script, ScriptedServer, scripted_server
from turnout.v1 import router_pb2 as pb

TAKEN: Script = (Head(status=204, headers=(), length=0),)
AWAY: Script = (Head(status=503, headers=(), length=0),)


def alarms_to(server: ScriptedServer | None, **more: str) -> str:
    if server is None:
        return written(more=f", alerts: {orjson.dumps(more).decode()}" if more else "")
    alerts: dict[str, Any] = {"webhook_url": f"{server.url}/alarms", **more}
    alerts |= {"webhook_allow_private": True, "webhook_allow_insecure": True}
    return written(more=f", alerts: {orjson.dumps(alerts).decode()}")


async def requests_of(server: ScriptedServer, count: int) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while len(server.requests) < count:
            server.requested.clear()
            await server.requested.wait()


def events(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(body)["data"]["events"]
    return found


async def test_alarms_follow_the_address_and_what_was_not_taken_goes_with_them(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a key of the operator's")
    async with scripted_server() as first, scripted_server() as second:
        first.scripts += [AWAY] * 20
        second.scripts += [TAKEN] * 20
        async with following(tmp_path, alarms_to(first)) as sidecar:
            await sidecar.change("{broken")
            await requests_of(first, 1)
            told = await sidecar.change(alarms_to(second, webhook_secret_file=str(key)))
            await requests_of(second, 1)
            await sidecar.change(alarms_to(None))
            await sidecar.change("{broken")
            await sidecar.change(alarms_to(None, high_latency_seconds="7"))
            await sidecar.change(alarms_to(second))
            await sidecar.change("{broken again")
            await requests_of(second, 2)

    moved, later = second.requests
    assert "needs_restart" not in told
    assert "alerts.webhook_url" in told["changed"]
    assert moved.headers["webhook-id"] == first.requests[0].headers["webhook-id"]
    assert moved.body == first.requests[0].body
    assert "webhook-signature" not in first.requests[0].headers
    assert moved.headers["webhook-signature"].startswith("v1,")
    [before], [after] = events(moved.body), events(later.body)
    assert (before["name"], after["name"]) == ("config.refused", "config.refused")
    # Between them four changes were taken, and one was refused while there was no address: that one is nobody's.
    assert after["sequence"] - before["sequence"] == 6


async def call(sidecar: Following) -> None:
    await sidecar.stub.Route(pb.RouteRequest(), timeout=LONG_SECONDS)


@pytest.mark.parametrize("before", ["problems", "all"])
async def test_lines_of_calls_follow_the_configuration(tmp_path: Path, before: str) -> None:
    def with_lines(mode: str) -> str:
        return written(provider("north", "https://north.example/v1"), more=f", telemetry: {{access_log: {mode}}}")

    after = "all" if before == "problems" else "problems"
    async with following(tmp_path, with_lines(before)) as sidecar:
        await call(sidecar)
        told = await sidecar.change(with_lines(after))
        await call(sidecar)
        await sidecar.change(with_lines(before))
        await call(sidecar)
        lines = [line["result"] for line in sidecar.lines("call")]

    assert told["changed"] == "telemetry.access_log"
    assert lines == ["OK"] * (1 if before == "problems" else 2)
