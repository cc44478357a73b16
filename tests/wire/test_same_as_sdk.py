"""Compares, field by field, what the vendors' own SDKs send with what we send for the same request."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.wire.conftest import KEY, connection_of, secrets_of
from tests.wire.scripted_server import Head, Recorded, ScriptedServer, json_answer
from tests.wire.speakers import AnthropicSpeaker, OpenAISpeaker, Speaker, spec_of, user
from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from turnout_server.core.model import ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.upstream import build_upstreams

PNG = b"\x89PNG-not-really"
PDF = b"%PDF-not-really"
PNG64 = b64encode(PNG).decode()
PDF64 = b64encode(PDF).decode()
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
SCHEMA_JSON = orjson.dumps(SCHEMA).decode()
WEATHER = Tool(name="weather", description="Tells the weather.", parameters_json_schema=SCHEMA_JSON)


def text(value: str, *, breakpoint_after: bool = False) -> Part:
    return Part(content=Text(text=value), cache_breakpoint=breakpoint_after)


def said(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


SYSTEM = said(Role.SYSTEM, text("Be brief."))
TOOL_TURNS = (
    user("Weather in Paris and Rome?"),
    said(
        Role.ASSISTANT,
        text("Let me look."),
        Part(content=ToolCall(id="call_1", name="weather", arguments_json='{"city":"Paris"}')),
        Part(content=ToolCall(id="call_2", name="weather", arguments_json='{"city":"Rome"}')),
    ),
    said(Role.TOOL, Part(content=ToolResult(tool_call_id="call_1", name="weather", content=(text("rain"),)))),
    said(
        Role.TOOL,
        Part(content=ToolResult(tool_call_id="call_2", name="weather", content=(text("no such city"),), is_error=True)),
    ),
)
IMAGES = said(
    Role.USER,
    text("What is this?"),
    Part(content=Media(kind=MediaKind.IMAGE, media_type="image/png", data=PNG)),
    Part(content=Media(kind=MediaKind.IMAGE, url="https://example.com/a.png")),
)
DOCUMENT = said(
    Role.USER, Part(content=Media(kind=MediaKind.DOCUMENT, media_type="application/pdf", data=PDF)), text("Sum it up.")
)

OPENAI_TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}

OPENAI_REQUESTS: dict[str, tuple[str, ChatInput, dict[str, Any]]] = {
    "plain": (
        "gpt-4o",
        ChatInput(
            messages=(SYSTEM, user("Hi")), temperature=0.5, top_p=0.9, max_output_tokens=64, stop=("END",), seed=7
        ),
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_completion_tokens": 64,
            "stop": ["END"],
            "seed": 7,
        },
    ),
    "images": (
        "gpt-4o",
        ChatInput(messages=(IMAGES,)),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    ],
                }
            ]
        },
    ),
    "document and audio": (
        "gpt-4o",
        ChatInput(
            messages=(
                said(
                    Role.USER,
                    Part(content=Media(kind=MediaKind.DOCUMENT, media_type="application/pdf", data=PDF)),
                    Part(content=Media(kind=MediaKind.AUDIO, media_type="audio/mpeg", data=b"mp3")),
                ),
            )
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF64}"},
                        },
                        {"type": "input_audio", "input_audio": {"data": b64encode(b"mp3").decode(), "format": "mp3"}},
                    ],
                }
            ]
        },
    ),
    "tools": (
        "gpt-4o",
        ChatInput(
            messages=TOOL_TURNS,
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="weather"),
            parallel_tool_calls=False,
        ),
        {
            "messages": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                        },
                        {
                            "id": "call_2",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                        },
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                {"role": "tool", "tool_call_id": "call_2", "content": "Error: no such city"},
            ],
            "tools": [OPENAI_TOOL],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        },
    ),
    "schema": (
        "gpt-4o",
        ChatInput(messages=(user("Where?"),), response_format=JsonFormat(name="place", schema_json=SCHEMA_JSON)),
        {
            "messages": [{"role": "user", "content": "Where?"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
            },
        },
    ),
    "any json": (
        "gpt-4o",
        ChatInput(messages=(user("Where? JSON"),), response_format=JsonFormat()),
        {"messages": [{"role": "user", "content": "Where? JSON"}], "response_format": {"type": "json_object"}},
    ),
    "reasoning": (
        "gpt-5.6",
        ChatInput(messages=(user("Think."),), reasoning_effort=ReasoningEffort.HIGH, temperature=0.1),
        {"messages": [{"role": "user", "content": "Think."}], "reasoning_effort": "high"},
    ),
    "cache breakpoint": (
        "gpt-5.6",
        ChatInput(messages=(said(Role.SYSTEM, text("Long.", breakpoint_after=True)), user("Hi"))),
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "text", "text": "Long.", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    ],
                },
                {"role": "user", "content": "Hi"},
            ]
        },
    ),
    "options": (
        "gpt-4o",
        ChatInput(
            messages=(user("Hi"),),
            provider_options={
                "openai": {"logit_bias": {"50256": -100.0}, "service_tier": "flex"},
                "anthropic": {"x": 1},
            },
        ),
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "logit_bias": {"50256": -100},
            "service_tier": "flex",
        },
    ),
}

ANTHROPIC_TOOL: Any = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}


def block(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


ANTHROPIC_REQUESTS: dict[str, tuple[str, ChatInput, dict[str, Any]]] = {
    "plain": (
        "claude-haiku-4-5",
        ChatInput(messages=(SYSTEM, user("Hi")), temperature=0.5, max_output_tokens=64, stop=("END",), seed=7),
        {
            "system": [block("Be brief.")],
            "messages": [{"role": "user", "content": [block("Hi")]}],
            # The newest models refuse it, so the SDK has dropped its argument; the API has not.
            "extra_body": {"temperature": 0.5},
            "max_tokens": 64,
            "stop_sequences": ["END"],
        },
    ),
    "images and documents": (
        "claude-haiku-4-5",
        ChatInput(
            messages=(
                IMAGES,
                said(Role.ASSISTANT, text("A cat.")),
                DOCUMENT,
                said(Role.ASSISTANT, text("Short.")),
                said(
                    Role.USER,
                    Part(content=Media(kind=MediaKind.DOCUMENT, url="https://example.com/a.pdf")),
                    Part(content=Media(kind=MediaKind.DOCUMENT, media_type="text/plain", data=b"plain")),
                ),
            )
        ),
        {
            "max_tokens": 8192,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        block("What is this?"),
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG64},
                        },
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    ],
                },
                {"role": "assistant", "content": [block("A cat.")]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF64},
                        },
                        block("Sum it up."),
                    ],
                },
                {"role": "assistant", "content": [block("Short.")]},
                {
                    "role": "user",
                    "content": [
                        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
                    ],
                },
            ],
        },
    ),
    "tools": (
        "claude-haiku-4-5",
        ChatInput(
            messages=(*TOOL_TURNS, user("And?")),
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED),
            parallel_tool_calls=False,
        ),
        {
            "max_tokens": 8192,
            "messages": [
                {"role": "user", "content": [block("Weather in Paris and Rome?")]},
                {
                    "role": "assistant",
                    "content": [
                        block("Let me look."),
                        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
                        {"type": "tool_use", "id": "call_2", "name": "weather", "input": {"city": "Rome"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": [block("rain")]},
                        {
                            "type": "tool_result",
                            "tool_use_id": "call_2",
                            "content": [block("no such city")],
                            "is_error": True,
                        },
                        block("And?"),
                    ],
                },
            ],
            "tools": [ANTHROPIC_TOOL],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
    ),
    "schema": (
        "claude-haiku-4-5",
        ChatInput(messages=(user("Where?"),), response_format=JsonFormat(name="place", schema_json=SCHEMA_JSON)),
        {
            "max_tokens": 8192,
            "messages": [{"role": "user", "content": [block("Where?")]}],
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
    "thinking by budget, with its own state": (
        "claude-haiku-4-5",
        ChatInput(
            messages=(
                user("Think."),
                said(
                    Role.ASSISTANT,
                    Part(content=Reasoning(text="Hm."), signature="c2ln", origin_provider="anthropic"),
                    Part(content=Reasoning(redacted_data=b"b3BhcXVl"), origin_provider="anthropic"),
                    text("Yes."),
                ),
                user("Sure?"),
            ),
            reasoning_effort=ReasoningEffort.LOW,
            temperature=0.1,
        ),
        {
            "max_tokens": 8192,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "messages": [
                {"role": "user", "content": [block("Think.")]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "b3BhcXVl"},
                        block("Yes."),
                    ],
                },
                {"role": "user", "content": [block("Sure?")]},
            ],
        },
    ),
    "adaptive thinking with a schema": (
        "claude-opus-5",
        ChatInput(
            messages=(user("Think."),),
            reasoning_effort=ReasoningEffort.MEDIUM,
            temperature=0.1,
            response_format=JsonFormat(schema_json=SCHEMA_JSON),
        ),
        {
            "max_tokens": 8192,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "medium", "format": {"type": "json_schema", "schema": SCHEMA}},
            "messages": [{"role": "user", "content": [block("Think.")]}],
        },
    ),
    "cache breakpoints": (
        "claude-haiku-4-5",
        ChatInput(
            messages=(
                said(Role.SYSTEM, text("Long.", breakpoint_after=True)),
                said(Role.USER, text("Longer.", breakpoint_after=True), text("Hi")),
            )
        ),
        {
            "max_tokens": 8192,
            "system": [{**block("Long."), "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [{**block("Longer."), "cache_control": {"type": "ephemeral"}}, block("Hi")],
                }
            ],
        },
    ),
    "options": (
        "claude-haiku-4-5",
        ChatInput(
            messages=(user("Hi"),),
            provider_options={"anthropic": {"top_k": 40.0, "metadata": {"user_id": "u1"}}, "openai": {"x": 1}},
        ),
        {
            "max_tokens": 8192,
            "messages": [{"role": "user", "content": [block("Hi")]}],
            "extra_body": {"top_k": 40},
            "metadata": {"user_id": "u1"},
        },
    ),
}


async def ours(
    speaker: Speaker, server: ScriptedServer, model: str, chat: ChatInput, *, base_url: str, stream: bool
) -> Recorded:
    connection = connection_of(speaker)
    upstream = build_upstreams([connection], secrets_of(connection))[connection.provider]
    spec = spec_of(speaker, base_url)
    call = UpstreamCall(spec=replace(spec, target=replace(spec.target, model=model)), credential="main", chat=chat)
    if stream:
        server.scripts.append([Head(), *speaker.text_stream(["x"])])
        async for _ in upstream.stream(call):
            pass
    else:
        server.scripts.append(json_answer(speaker.whole_text("x")))
        await upstream.complete(call)
    await upstream.aclose()
    return server.requests[-1]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", OPENAI_REQUESTS)
async def test_openai_wire_sends_what_the_openai_sdk_sends(server: ScriptedServer, name: str, *, stream: bool) -> None:
    model, chat, arguments = OPENAI_REQUESTS[name]
    speaker = OpenAISpeaker()
    mine = await ours(speaker, server, model, chat, base_url=f"{server.url}/v1", stream=stream)
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as client:
        if stream:
            server.scripts.append([Head(), *speaker.text_stream(["x"])])
            answer: Any = await client.chat.completions.create(
                model=model, stream=True, stream_options={"include_usage": True}, **arguments
            )
            async for _ in answer:
                pass
        else:
            server.scripts.append(json_answer(speaker.whole_text("x")))
            await client.chat.completions.create(model=model, **arguments)
    theirs = server.requests[-1]

    assert orjson.loads(theirs.body) == orjson.loads(mine.body)
    assert (theirs.method, theirs.path) == (mine.method, mine.path)
    assert all(theirs.headers[key] == mine.headers[key] for key in ("authorization", "content-type"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ANTHROPIC_REQUESTS)
async def test_anthropic_wire_sends_what_the_anthropic_sdk_sends(
    server: ScriptedServer, name: str, *, stream: bool
) -> None:
    model, chat, arguments = ANTHROPIC_REQUESTS[name]
    speaker = AnthropicSpeaker()
    mine = await ours(speaker, server, model, chat, base_url=server.url, stream=stream)
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url, max_retries=0) as client:
        if stream:
            server.scripts.append([Head(), *speaker.text_stream(["x"])])
            answer: Any = await client.messages.create(model=model, stream=True, **arguments)
            async for _ in answer:
                pass
        else:
            server.scripts.append(json_answer(speaker.whole_text("x")))
            await client.messages.create(model=model, **arguments)
    theirs = server.requests[-1]

    assert orjson.loads(theirs.body) == orjson.loads(mine.body) | ({} if stream else _without_stream(theirs))
    assert (theirs.method, theirs.path) == (mine.method, mine.path)
    assert theirs.headers["content-type"] == mine.headers["content-type"]
    # The SDK's second generation speaks a newer version of the API, and puts the key into another header. Compatible
    # servers know the older ones, and so does the API.
    assert ("2023-06-01", KEY) == (mine.headers["anthropic-version"], mine.headers["x-api-key"])
    assert theirs.headers["anthropic-version"] >= mine.headers["anthropic-version"]
    assert theirs.headers.get("x-api-key", theirs.headers.get("authorization")) in {KEY, f"Bearer {KEY}"}


def _without_stream(theirs: Recorded) -> dict[str, Any]:
    """Some versions of the SDK say `stream: false`, which is the default."""
    return {"stream": False} if orjson.loads(theirs.body).get("stream") is False else {}
