"""The vendors' own clients accept what the simulated providers say."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from turnout_server.providers.simulated.server import SimulatedServer

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
LONG = "Rules of the yard. " * 400


def openai_client(sim: SimulatedServer, name: str = "openai") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=sim.base_url(name), api_key="sk-test", max_retries=0)


def anthropic_client(sim: SimulatedServer) -> anthropic.AsyncAnthropic:
    base_url = sim.base_url("anthropic").removesuffix("/v1")
    return anthropic.AsyncAnthropic(base_url=base_url, api_key="sk-test", max_retries=0)


async def test_openai_client_reads_a_text_answer_with_usage(sim: SimulatedServer) -> None:
    async with openai_client(sim) as client:
        answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])

    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert len(answer.choices[0].message.content.split(" ")) == answer.usage.completion_tokens


async def test_openai_client_reads_a_stream_whose_usage_comes_last(sim: SimulatedServer) -> None:
    async with openai_client(sim) as client:
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert len(text.split(" ")) == chunks[-1].usage.completion_tokens


async def test_openai_client_gathers_parallel_tool_calls_from_fragments(sim: SimulatedServer) -> None:
    tools: list[Any] = [
        {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "trains")
    ]
    async with openai_client(sim) as client:
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "use weather and trains"}],
            tools=tools,
            stream=True,
        )
        arguments: dict[int, str] = {}
        names: dict[int, str] = {}
        finish = ""
        async for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or ():
                assert call.function is not None
                names[call.index] = names.get(call.index, "") + (call.function.name or "")
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
            finish = chunk.choices[0].finish_reason or finish

    assert finish == "tool_calls"
    assert names == {0: "weather", 1: "trains"}
    assert all(json.loads(text).keys() == {"city", "days"} for text in arguments.values())


async def test_openai_client_sees_cached_tokens_when_a_long_prompt_returns(sim: SimulatedServer) -> None:
    cached = []
    async with openai_client(sim) as client:
        for question in ("one", "two"):
            answer = await client.chat.completions.create(
                model="m",
                messages=[{"role": "system", "content": LONG}, {"role": "user", "content": question}],
            )
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            cached.append(answer.usage.prompt_tokens_details.cached_tokens or 0)

    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0


async def test_anthropic_client_reads_a_text_answer_with_usage(sim: SimulatedServer) -> None:
    async with anthropic_client(sim) as client:
        message = await client.messages.create(
            model="m", max_tokens=200, messages=[{"role": "user", "content": "hello"}]
        )

    assert message.stop_reason == "end_turn"
    assert message.content[0].type == "text"
    assert len(message.content[0].text.split(" ")) == message.usage.output_tokens


async def test_anthropic_client_gathers_thinking_and_tools_from_a_stream(sim: SimulatedServer) -> None:
    async with (
        anthropic_client(sim) as client,
        client.messages.stream(
            model="m",
            max_tokens=2000,
            thinking={"type": "enabled", "budget_tokens": 1024},
            tools=[{"name": "weather", "input_schema": SCHEMA}],
            messages=[{"role": "user", "content": "use weather"}],
        ) as stream,
    ):
        message = await stream.get_final_message()

    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    assert message.content[0].type == "thinking"
    assert message.content[0].signature
    assert message.content[1].type == "tool_use"
    assert message.content[1].input.keys() == {"city", "days"}
    assert message.stop_reason == "tool_use"


async def test_anthropic_client_sees_cache_writes_then_reads_where_it_marked_the_prompt(sim: SimulatedServer) -> None:
    seen = []
    async with anthropic_client(sim) as client:
        for question in ("one", "two"):
            message = await client.messages.create(
                model="m",
                max_tokens=50,
                system=[{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}],
                messages=[{"role": "user", "content": question}],
            )
            seen.append((message.usage.cache_creation_input_tokens, message.usage.cache_read_input_tokens))
    size = seen[0][0]

    assert size is not None
    assert size > 1024
    assert seen == [(size, 0), (0, size)]


async def test_answer_is_cut_at_the_callers_limit(sim: SimulatedServer) -> None:
    async with anthropic_client(sim) as client:
        message = await client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hello"}])

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5


async def test_vendor_clients_map_errors_to_their_own_kinds(sim: SimulatedServer) -> None:
    sim.change("openai", fault={"problem": "quota"})
    sim.change("anthropic", fault={"problem": "overloaded"})
    async with openai_client(sim) as client:
        with pytest.raises(openai.RateLimitError) as quota:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    async with anthropic_client(sim) as other:
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await other.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hello"}])

    assert quota.value.code == "insufficient_quota"
    assert overloaded.value.status_code == 529


async def test_answer_follows_the_json_schema_it_was_given(sim: SimulatedServer) -> None:
    async with openai_client(sim) as client:
        answer = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "plan"}],
            response_format={"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}},
        )

    assert json.loads(answer.choices[0].message.content or "").keys() == {"city", "days"}
