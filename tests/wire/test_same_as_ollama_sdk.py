"""Compares, field by field, Ollama's own Python library with the ollama wire: what they send, and what they read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import orjson
import pytest

from tests.wire.ollama_speaker import OllamaSpeaker
from tests.wire.scripted_server import Head, ScriptedServer, json_answer
from tests.wire.speakers import hello, user
from tests.wire.test_same_as_sdk import PNG, SCHEMA, SYSTEM, TOOL_TURNS, WEATHER, ours, said, text
from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Media,
    MediaKind,
    Part,
    ReasoningDelta,
    Role,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import ReasoningEffort
from turnout_server.providers.ollama.answer import OllamaDecoder

VENDOR = OllamaSpeaker()
HEAD = Head(headers=(("content-type", VENDOR.content_type),))
THEIR_TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
IMAGE = said(
    Role.USER,
    text("What is this?"),
    Part(content=Media(kind=MediaKind.IMAGE, media_type="image/png", data=PNG)),
)

REQUESTS: dict[str, tuple[ChatInput, dict[str, Any]]] = {
    "plain": (
        ChatInput(
            messages=(SYSTEM, user("Hi")), temperature=0.5, top_p=0.9, max_output_tokens=64, stop=("END",), seed=7
        ),
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "options": {
                "temperature": 0.5,
                "top_p": 0.9,
                "num_predict": 64,
                "stop": ["END"],
                "seed": 7,
            },
        },
    ),
    "image": (
        ChatInput(messages=(IMAGE,)),
        {
            "messages": [{"role": "user", "content": "What is this?", "images": [PNG]}],
        },
    ),
    "tools": (
        ChatInput(messages=TOOL_TURNS, tools=(WEATHER,)),
        {
            "messages": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [
                        {"function": {"name": "weather", "arguments": {"city": "Paris"}}},
                        {"function": {"name": "weather", "arguments": {"city": "Rome"}}},
                    ],
                },
                {"role": "tool", "content": "rain", "tool_name": "weather"},
                {"role": "tool", "content": "Error: no such city", "tool_name": "weather"},
            ],
            "tools": [THEIR_TOOL],
        },
    ),
    "schema": (
        ChatInput(messages=(user("Hi"),), response_format=JsonFormat(schema_json=orjson.dumps(SCHEMA).decode())),
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "format": SCHEMA,
        },
    ),
    "thinking": (
        ChatInput(messages=(user("Hi"),), reasoning_effort=ReasoningEffort.HIGH),
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "think": True,
        },
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_ollamas_library_sends_what_we_send(server: ScriptedServer, name: str, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    chat, theirs = REQUESTS[name]
    server.scripts.append([HEAD, *VENDOR.text_stream(["Hi"])] if stream else json_answer(VENDOR.whole_text("Hi")))
    async with library(server.url) as client:
        if stream:
            async for _ in await client.chat(model="qwen3", stream=True, **theirs):
                pass
        else:
            await client.chat(model="qwen3", stream=False, **theirs)
    sent = _without_what_the_library_drops(orjson.loads(server.requests[-1].body))
    ours_sent = await ours(VENDOR, server, "qwen3", chat, base_url=server.url, stream=stream)

    assert sent == _without_what_the_library_drops(orjson.loads(ours_sent.body))
    assert server.requests[-2].path == ours_sent.path


@asynccontextmanager
async def library(url: str) -> AsyncIterator[ollama.AsyncClient]:
    """The library's client, with its connections closed at the end, which it leaves to chance."""
    client = ollama.AsyncClient(host=url)
    try:
        yield client
    finally:
        await client._client.aclose()


def _without_what_the_library_drops(body: dict[str, Any]) -> dict[str, Any]:
    """The library writes tools through types of its own, which leave out what they do not know, and none as a list."""
    if not body.get("tools"):
        body.pop("tools", None)
    for tool in body.get("tools", ()):
        tool["function"]["parameters"].pop("additionalProperties", None)
    return body


def read_by_us(lines: list[bytes]) -> list[StreamEvent]:
    decoder = OllamaDecoder(hello(), "ollama")
    out: list[StreamEvent] = []
    for line in b"".join(lines).splitlines():
        decoder.feed(line, out)
    return out


@pytest.mark.parametrize(
    "lines",
    [
        VENDOR.text_stream(["Grüße, ", "世界", " 🌍"]),
        VENDOR.reasoning_stream(["Let ", "me think"], "42"),
        VENDOR.tool_stream([("", "weather", ['{"city":"Rome"}']), ("", "weather", ['{"city":"Oslo"}'])]),
    ],
    ids=["text", "thinking", "tools"],
)
async def test_ollamas_library_reads_what_we_read(server: ScriptedServer, lines: list[bytes]) -> None:
    server.scripts.append([HEAD, *lines])
    async with library(server.url) as client:
        asked: Any = [{"role": "user", "content": "Hi"}]
        parts = [part async for part in await client.chat(model="qwen3", messages=asked, stream=True)]
    events = read_by_us(lines)
    usage = next(event.usage for event in events if isinstance(event, UsageReported))

    assert "".join(part.message.content or "" for part in parts) == "".join(
        event.text for event in events if isinstance(event, TextDelta)
    )
    assert "".join(part.message.thinking or "" for part in parts) == "".join(
        event.text for event in events if isinstance(event, ReasoningDelta)
    )
    assert [
        (call.function.name, dict(call.function.arguments)) for part in parts for call in part.message.tool_calls or ()
    ] == [(event.name, orjson.loads(event.arguments_fragment)) for event in events if isinstance(event, ToolCallDelta)]
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (usage.input_tokens, usage.output_tokens)
