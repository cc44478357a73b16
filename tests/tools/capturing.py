"""A sidecar of the real catalog, with every vendor's address on a server here that keeps what each was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import orjson
from aiohttp import web

from tests.large.swallowing import WIRES
from turnout.v1 import admin_pb2_grpc, router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load

VENDORS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
    "mistral": "openai",
    "groq": "openai",
    "cerebras": "openai",
    "xai": "openai",
    "kimi": "openai",
    "minimax": "openai",
    "openrouter": "openai",
    "ollama": "ollama",
}
"""The wire that each vendor speaks."""

_PROVIDER = """
  {name}: {{base_url: "{url}/{wire}/{name}", api_key_env: A_KEY, allow_insecure: true, allow_private: true{more}}}"""
_LOCAL = (
    ", models: [{name: local, context_window_tokens: 128000, capabilities: [STREAMING, TOOLS, JSON_SCHEMA, THINKING], "
    "price: {input_per_million_usd: 0, output_per_million_usd: 0}}]"
)
_CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
drain_seconds: 0
providers:{providers}
"""


@dataclass(slots=True)
class Captured:
    """The sidecar's stubs, and the bodies of the requests that vendors got."""

    stub: router_pb2_grpc.RouterServiceAsyncStub
    admin: admin_pb2_grpc.AdminServiceAsyncStub
    bodies: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def capturing(folder: Path) -> AsyncIterator[Captured]:
    """Runs both for the length of the block."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        wire = request.match_info["wire"]
        data = await request.read()
        if not data:
            return web.Response(status=404)
        body = orjson.loads(data)
        bodies.append(body)
        spoken = WIRES[wire]
        if body.get("stream") is True or "streamGenerateContent" in request.path:
            stream = spoken.head + spoken.piece("{}") + spoken.end
            return web.Response(body=stream, headers={"content-type": spoken.content_type})
        return web.json_response(spoken.whole("{}"))

    app = web.Application()
    app.router.add_route("*", "/{wire}/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    providers = "".join(
        _PROVIDER.format(name=name, wire=wire, url=url, more=_LOCAL if name == "ollama" else "")
        for name, wire in VENDORS.items()
    )
    file = folder / "turnout.yaml"
    file.write_text(_CONFIGURATION.format(providers=providers))
    environ = {"A_KEY": "key"}
    try:
        async with (
            running(load(str(file), environ), environ) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Captured(router_pb2_grpc.RouterServiceStub(channel), admin_pb2_grpc.AdminServiceStub(channel), bodies)
    finally:
        await runner.cleanup()
