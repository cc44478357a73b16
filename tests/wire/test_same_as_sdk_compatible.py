"""Compares what the SDKs of OpenAI-compatible vendors send and read with what we send and read.

mistralai, groq and cerebras_cloud_sdk are the vendors' own; xAI, Kimi, MiniMax and OpenRouter tell their users to take
OpenAI's with another base URL, and to put what it does not know into `extra_body`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import groq
import httpx
import openai
import orjson
import pytest
from cerebras.cloud.sdk import AsyncCerebras
from mistralai.client import Mistral

from tests.wire.conftest import KEY, bench_of
from tests.wire.dialect_speakers import DialectSpeaker
from tests.wire.every_speaker import SPEAKERS
from tests.wire.scripted_server import Head, Recorded, Script, ScriptedServer, json_answer
from tests.wire.speakers import user
from tests.wire.test_same_as_sdk import DOCUMENT, PDF64, SCHEMA, SCHEMA_JSON, SYSTEM, TOOL_TURNS, WEATHER
from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    Role,
    StreamEvent,
    Text,
    TextDelta,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    UsageReported,
)
from turnout_server.core.model import ReasoningEffort, Target
from turnout_server.providers.openai.reasoning import marked

Ask = Callable[[str, str, bool, dict[str, Any]], Awaitable[list[Any]]]
"""Base URL, model, whether streamed, arguments: the SDK's answer, as its chunks, or as the one whole."""

IDS = {"call_1": "t8wLHgKZJ", "call_2": "8q7gsYoLD"}
"""The ids of the conversation's tool calls as Mistral takes them."""


async def ask_mistral(url: str, model: str, stream: bool, arguments: dict[str, Any]) -> list[Any]:  # noqa: FBT001
    # A client of its own making is closed whenever the collector finds it: in the loop of some later test.
    async with httpx.AsyncClient() as http:
        client = Mistral(api_key=KEY, server_url=url, async_client=cast("Any", http))
        if not stream:
            return [await client.chat.complete_async(model=model, **arguments)]
        return [event.data async for event in await client.chat.stream_async(model=model, **arguments)]


async def ask_groq(url: str, model: str, stream: bool, arguments: dict[str, Any]) -> list[Any]:  # noqa: FBT001
    async with groq.AsyncGroq(api_key=KEY, base_url=url, max_retries=0) as client:
        return await _answers(client.chat.completions.create, model, stream=stream, **arguments)


async def ask_cerebras(url: str, model: str, stream: bool, arguments: dict[str, Any]) -> list[Any]:  # noqa: FBT001
    asked = {"stream_options": {"include_usage": True}} if stream else {}
    async with AsyncCerebras(api_key=KEY, base_url=url, max_retries=0, warm_tcp_connection=False) as client:
        return await _answers(client.chat.completions.create, model, stream=stream, **asked, **arguments)


async def ask_openai(url: str, model: str, stream: bool, arguments: dict[str, Any]) -> list[Any]:  # noqa: FBT001
    asked = {"stream_options": {"include_usage": True}} if stream else {}
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as client:
        return await _answers(client.chat.completions.create, model, stream=stream, **asked, **arguments)


async def _answers(create: Callable[..., Awaitable[Any]], model: str, *, stream: bool, **arguments: Any) -> list[Any]:
    answer = await create(model=model, **({"stream": True} if stream else {}), **arguments)
    return [chunk async for chunk in answer] if stream else [answer]


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """A vendor's SDK, and below which path it calls. `says` are defaults that it writes out and we leave out."""

    ask: Ask
    path: str = "/v1"
    says: dict[str, Any] = field(default_factory=dict)


VENDORS = {
    "mistral": Vendor(ask=ask_mistral, says={"stream": False, "prefix": False, "strict": False, "index": 0}),
    "groq": Vendor(ask=ask_groq, path="/openai/v1"),
    "cerebras": Vendor(ask=ask_cerebras),
    "xai": Vendor(ask=ask_openai),
    "kimi": Vendor(ask=ask_openai),
    "minimax": Vendor(ask=ask_openai),
    "openrouter": Vendor(ask=ask_openai),
}

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
SCHEMA_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
}


def turns(ids: dict[str, str], **of_assistant: Any) -> list[dict[str, Any]]:
    def call(name: str, arguments: str) -> dict[str, Any]:
        return {"id": ids.get(name, name), "type": "function", "function": {"name": "weather", "arguments": arguments}}

    calls = [call("call_1", '{"city":"Paris"}'), call("call_2", '{"city":"Rome"}')]
    return [
        {"role": "user", "content": "Weather in Paris and Rome?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": calls, **of_assistant},
        {"role": "tool", "tool_call_id": ids.get("call_1", "call_1"), "content": "rain"},
        {"role": "tool", "tool_call_id": ids.get("call_2", "call_2"), "content": "Error: no such city"},
    ]


PLAIN = ChatInput(messages=(SYSTEM, user("Hi")), temperature=0.5, top_p=0.9, max_output_tokens=64, seed=7)
STOPPED = replace(PLAIN, stop=("END",))
TOOLS = ChatInput(
    messages=TOOL_TURNS,
    tools=(WEATHER,),
    tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED),
    parallel_tool_calls=False,
)
JSON = ChatInput(messages=(user("Where?"),), response_format=JsonFormat(name="place", schema_json=SCHEMA_JSON))
WHERE = [{"role": "user", "content": "Where?"}]


def think(effort: ReasoningEffort) -> ChatInput:
    return ChatInput(messages=(user("Where?"),), reasoning_effort=effort)


def thought(provider: str, signature: str) -> ChatInput:
    parts = (
        Part(content=Reasoning(text="Hm."), signature=signature, origin_provider=provider),
        Part(content=Text(text="Here.")),
    )
    return ChatInput(messages=(user("Where?"), Message(role=Role.ASSISTANT, parts=parts), user("Where?")))


def thought_turns(**of_assistant: Any) -> list[dict[str, Any]]:
    return [*WHERE, {"role": "assistant", "content": "Here.", **of_assistant}, *WHERE]


LOW, HIGH, NONE = ReasoningEffort.LOW, ReasoningEffort.HIGH, ReasoningEffort.NONE
BLOCK = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
SEALED = '[{"type":"reasoning.text","text":null,"signature":"c2ln","format":"anthropic-claude-v1","index":0}]'
REQUESTS: dict[str, tuple[str, ChatInput, dict[str, Any]]] = {
    "mistral plain": (
        "codestral-latest",
        STOPPED,
        {
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 64,
            "stop": ["END"],
            "random_seed": 7,
        },
    ),
    "mistral tools": (
        "devstral-small-2505",
        TOOLS,
        {"messages": turns(IDS), "tools": [TOOL], "tool_choice": "any", "parallel_tool_calls": False},
    ),
    "mistral schema": ("codestral-latest", JSON, {"messages": WHERE, "response_format": SCHEMA_FORMAT}),
    "mistral effort": ("mistral-medium-3-5", think(LOW), {"messages": WHERE, "reasoning_effort": "high"}),
    "mistral media": (
        "mistral-medium-3-5",
        ChatInput(messages=(DOCUMENT,)),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "document_url", "document_url": f"data:application/pdf;base64,{PDF64}"},
                        {"type": "text", "text": "Sum it up."},
                    ],
                }
            ]
        },
    ),
    "mistral thinking back": (
        "magistral-medium-latest",
        thought("mistral", "c2ln"),
        {
            "messages": [
                *WHERE,
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "thinking",
                            "thinking": [{"type": "text", "text": "Hm."}],
                            "signature": "c2ln",
                        },
                        {"type": "text", "text": "Here."},
                    ],
                },
                *WHERE,
            ]
        },
    ),
    "groq plain": (
        "llama-3.3-70b-versatile",
        STOPPED,
        {
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_completion_tokens": 64,
            "stop": ["END"],
            "seed": 7,
        },
    ),
    "groq tools": (
        "openai/gpt-oss-120b",
        TOOLS,
        {"messages": turns({}), "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "groq schema": ("openai/gpt-oss-120b", JSON, {"messages": WHERE, "response_format": SCHEMA_FORMAT}),
    "groq effort": (
        "qwen/qwen3-32b",
        think(NONE),
        {"messages": WHERE, "reasoning_effort": "none", "reasoning_format": "parsed"},
    ),
    "groq reasoning back": (
        "openai/gpt-oss-120b",
        thought("groq", "reasoning"),
        {"messages": thought_turns(reasoning="Hm.")},
    ),
    "cerebras plain": (
        "llama3.1-8b",
        STOPPED,
        {
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_completion_tokens": 64,
            "stop": ["END"],
            "seed": 7,
        },
    ),
    "cerebras tools": (
        "gpt-oss-120b",
        TOOLS,
        {"messages": turns({}), "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "cerebras schema": ("gpt-oss-120b", JSON, {"messages": WHERE, "response_format": SCHEMA_FORMAT}),
    "cerebras effort": (
        "qwen-3.8-27b",
        think(NONE),
        {"messages": WHERE, "reasoning_effort": "none", "reasoning_format": "parsed"},
    ),
    "cerebras reasoning back": (
        "gpt-oss-120b",
        thought("cerebras", "reasoning"),
        {"messages": thought_turns(reasoning="Hm.")},
    ),
    "xai plain": (
        "grok-3-mini",
        STOPPED,
        {"messages": MESSAGES, "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 64, "seed": 7},
    ),
    "xai effort": ("grok-4.3", think(HIGH), {"messages": WHERE, "reasoning_effort": "high"}),
    "xai schema": ("grok-4.3", JSON, {"messages": WHERE, "response_format": SCHEMA_FORMAT}),
    "kimi plain": (
        "kimi-k2.6",
        STOPPED,
        {"messages": MESSAGES, "max_completion_tokens": 64, "stop": ["END"], "seed": 7},
    ),
    "kimi tools": (
        "kimi-k2.6",
        TOOLS,
        {
            "messages": turns({}, reasoning_content=" "),
            "tools": [TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "extra_body": {"thinking": {"type": "disabled"}},
        },
    ),
    "kimi effort": (
        "kimi-k2.6",
        think(LOW),
        {"messages": WHERE, "extra_body": {"thinking": {"type": "enabled"}}},
    ),
    "kimi reasoning back": (
        "kimi-k2.6",
        thought("kimi", "reasoning_content"),
        {"messages": thought_turns(reasoning_content="Hm.")},
    ),
    "minimax plain": (
        "MiniMax-M2.7",
        STOPPED,
        {
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "max_completion_tokens": 64,
            "extra_body": {"reasoning_split": True},
        },
    ),
    "minimax tools": (
        "MiniMax-M2.7",
        TOOLS,
        {"messages": turns({}), "tools": [TOOL], "extra_body": {"reasoning_split": True}},
    ),
    "minimax effort": (
        "MiniMax-M3",
        think(NONE),
        {"messages": WHERE, "extra_body": {"reasoning_split": True, "thinking": {"type": "disabled"}}},
    ),
    "minimax reasoning back": (
        "MiniMax-M2.7",
        thought("minimax", SEALED),
        {"messages": thought_turns(reasoning_details=[BLOCK]), "extra_body": {"reasoning_split": True}},
    ),
    "openrouter plain": (
        "openai/gpt-4o",
        STOPPED,
        {
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 64,
            "stop": ["END"],
            "seed": 7,
            "extra_body": {"usage": {"include": True}},
        },
    ),
    "openrouter effort": (
        "anthropic/claude-sonnet-4.5",
        think(HIGH),
        {"messages": WHERE, "extra_body": {"usage": {"include": True}, "reasoning": {"effort": "high"}}},
    ),
    "openrouter reasoning back": (
        "anthropic/claude-sonnet-4.5",
        thought("openrouter", marked(SEALED, "anthropic")),
        {"messages": thought_turns(reasoning_details=[BLOCK]), "extra_body": {"usage": {"include": True}}},
    ),
}


def speaker_of(provider: str) -> DialectSpeaker:
    speaker = SPEAKERS[provider]()
    assert isinstance(speaker, DialectSpeaker)
    return speaker


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_vendor_is_sent_what_its_sdk_sends(server: ScriptedServer, name: str, *, stream: bool) -> None:
    provider = name.partition(" ")[0]
    vendor, speaker = VENDORS[provider], speaker_of(provider)
    model, chat, arguments = REQUESTS[name]
    script: Script = [Head(), *speaker.text_stream(["x"])] if stream else json_answer(speaker.whole_text("x"))
    async with bench_of(speaker, server) as bench:
        spec = replace(bench.call.spec, target=Target(provider, model), base_url=server.url + vendor.path)
        bench.call = replace(bench.call, spec=spec)
        await (bench.stream(script, chat) if stream else bench.complete(script, chat))
    server.scripts.append(script)
    await vendor.ask(server.url, model, stream, arguments)
    mine, theirs = server.requests

    assert without_defaults(theirs, vendor) == orjson.loads(mine.body)
    assert (theirs.method, theirs.path) == (mine.method, mine.path)
    assert theirs.headers["authorization"] == mine.headers["authorization"]
    assert theirs.headers["content-type"] == mine.headers["content-type"]


def without_defaults(request: Recorded, vendor: Vendor) -> Any:
    return _without(orjson.loads(request.body), vendor.says)


def _without(value: Any, defaults: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_without(entry, defaults) for entry in value]
    if not isinstance(value, dict):
        return value
    return {name: _without(v, defaults) for name, v in value.items() if (name, v) not in defaults.items()}


Told = tuple[str, str, dict[int, list[str]], tuple[int | None, int | None]]
"""Text, thinking, tool calls by their order (id, name, arguments), and how many tokens went in and out."""


def told_by_us(events: Iterable[StreamEvent]) -> Told:
    text = thinking = ""
    calls: dict[int, list[str]] = {}
    tokens: tuple[int | None, int | None] = (None, None)
    for event in events:
        match event:
            case TextDelta():
                text += event.text
            case ReasoningDelta():
                thinking += event.text
            case ToolCallDelta():
                add(calls, event.part_index, event.id, event.name, event.arguments_fragment)
            case UsageReported():
                tokens = event.usage.input_tokens, event.usage.output_tokens
            case _:
                pass
    return text, thinking, dict(enumerate(calls.values())), tokens


def add(calls: dict[int, list[str]], key: int, *pieces: str | None) -> None:
    known = calls.get(key, ["", "", ""])
    # Mistral writes `null` where a later piece has no id, and its SDK passes that on.
    calls[key] = [one + ("" if piece == "null" else piece or "") for one, piece in zip(known, pieces, strict=True)]


def told_by_sdk(answers: list[Any]) -> Told:
    text = thinking = ""
    calls: dict[int, list[str]] = {}
    tokens: tuple[int | None, int | None] = (None, None)
    for answer in answers:
        for choice in answer.choices or ():
            said = getattr(choice, "delta", None) or getattr(choice, "message", None)
            content = getattr(said, "content", None) or ""
            chunks = [content] if isinstance(content, str) else content
            for chunk in chunks:
                if isinstance(chunk, str):
                    text += chunk
                elif chunk.type == "thinking":
                    thinking += "".join(piece.text for piece in chunk.thinking)
                else:
                    text += chunk.text
            thinking += getattr(said, "reasoning", None) or getattr(said, "reasoning_content", None) or ""
            for place, call in enumerate(getattr(said, "tool_calls", None) or ()):
                index = getattr(call, "index", None) or place
                add(calls, index, call.id, call.function.name, call.function.arguments)
        tokens = usage_of(answer) or tokens
    return text, thinking, dict(enumerate(calls.values())), tokens


def usage_of(answer: Any) -> tuple[int, int] | None:
    choice = next(iter(answer.choices or ()), None)
    own = getattr(answer, "x_groq", None)
    usage = answer.usage or getattr(choice, "usage", None) or getattr(own, "usage", None)
    if not usage:
        return None
    counts = usage if isinstance(usage, dict) else usage.model_dump()
    if counts.get("prompt_tokens") is None:
        return None
    reasoning = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    apart = counts["total_tokens"] - counts["prompt_tokens"] - counts["completion_tokens"]
    return counts["prompt_tokens"], counts["completion_tokens"] + (reasoning if apart else 0)


CALLS = [("aB3dE6gH9", "weather", ['{"city":', '"Paris"}']), ("bC4eF7hI0", "time", ["{", "}"])]
ANSWERS: dict[str, Callable[[DialectSpeaker], tuple[bool, list[bytes]]]] = {
    "text": lambda s: (True, s.text_stream(["Grü", "ße, ", "世界"])),
    "tools": lambda s: (True, s.tool_stream(CALLS)),
    "reasoning": lambda s: (True, s.reasoning_stream(["Hm, ", "well."], "Yes.")),
    "no content": lambda s: (True, s.text_stream([])),
    "whole text": lambda s: (False, [s.whole_text("Grüße")]),
    "whole tools": lambda s: (False, [s.whole_tools([(i, name, "".join(args)) for i, name, args in CALLS])]),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("provider", VENDORS)
async def test_answer_is_read_as_the_vendors_sdk_reads_it(server: ScriptedServer, provider: str, name: str) -> None:
    vendor, speaker = VENDORS[provider], speaker_of(provider)
    stream, pieces = ANSWERS[name](speaker)
    script: Script = [Head(), *pieces] if stream else json_answer(pieces[0])
    async with bench_of(speaker, server) as bench:
        events = await (bench.stream(script) if stream else bench.complete(script))
    server.scripts.append(script)

    theirs = told_by_sdk(await vendor.ask(server.url, speaker.model, stream, {"messages": MESSAGES}))
    text, thinking, calls, tokens = told_by_us(events)

    if provider == "minimax" and name == "reasoning":
        # The SDK knows nothing of its tags, and hears the repetition at the end only as a message.
        text, thinking = f"<think>\n{thinking}</think>\n\n{text}", ""
    assert theirs == (text, thinking, calls, tokens)
