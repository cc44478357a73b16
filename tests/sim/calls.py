"""Raw calls on the two wires, for what a vendor's client would hide: bytes, headers and broken connections."""

from __future__ import annotations

from typing import Any

import httpx

from turnout_server.providers.simulated.server import SimulatedServer

PATHS = {"openai": "/chat/completions", "anthropic": "/messages"}
HEADERS = {
    "openai": {"authorization": "Bearer sk-test"},
    "anthropic": {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"},
}
END_MARKERS = {"openai": b"[DONE]", "anthropic": b"message_stop"}
FINISHES = {"openai": b'"finish_reason":"stop"', "anthropic": b'"stop_reason":"end_turn"'}


def body(*, stream: bool, text: str = "hello", model: str = "m") -> dict[str, Any]:
    return {"model": model, "max_tokens": 500, "stream": stream, "messages": [{"role": "user", "content": text}]}


async def post(
    http: httpx.AsyncClient, sim: SimulatedServer, name: str, *, stream: bool = False, **fields: Any
) -> httpx.Response:
    url = sim.base_url(name) + PATHS[name]
    return await http.post(url, json=body(stream=stream, **fields), headers=HEADERS[name])


async def read_until_broken(http: httpx.AsyncClient, sim: SimulatedServer, name: str) -> tuple[bytes, str]:
    """Returns what arrived, and the name of the error that ended it, or nothing where HTTP ended properly."""
    seen = b""
    url = sim.base_url(name) + PATHS[name]
    try:
        async with http.stream("POST", url, json=body(stream=True), headers=HEADERS[name]) as response:
            async for chunk in response.aiter_raw():
                seen += chunk
    except httpx.HTTPError as error:
        return seen, type(error).__name__
    return seen, ""
