"""A tool's arguments keep every digit on their way, where the vendor writes them as JSON and where as text."""

# ruff: noqa: UP031 - JSON is full of braces

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.wire.conftest import Bench
from tests.wire.every_speaker import SPEAKERS
from tests.wire.scripted_server import Head, json_answer
from tests.wire.speakers import Speaker, hello
from turnout_server.core.chat import ChatInput, Message, Part, Role, ToolCall, ToolCallDelta, ToolResult

ARGUMENTS = (
    '{"n":123456789012345678901234567890,"f":3.14159265358979323846,"s":"12345678901234567890","t":-0.5,"é":"夜行"}'
)


def openai(arguments: str, *, key: str) -> str:
    call = '{"index":0,"id":"call_1","type":"function","function":{"name":"pay","arguments":%s}}' % arguments
    reason = ',"finish_reason":"tool_calls"'
    return '{"id":"1","model":"m","choices":[{"index":0,"%s":{"tool_calls":[%s]}%s}]}' % (key, call, reason)


def gemini(arguments: str) -> str:
    part = '{"functionCall":{"id":"call_1","name":"pay","args":%s}}' % arguments
    return '{"candidates":[{"content":{"parts":[%s],"role":"model"},"index":0,"finishReason":"STOP"}]}' % part


def ollama(arguments: str) -> str:
    call = '{"function":{"name":"pay","arguments":%s}}' % arguments
    message = '{"role":"assistant","content":"","tool_calls":[%s]}' % call
    return '{"model":"m","message":%s,"done":true,"done_reason":"stop"}' % message


def anthropic(arguments: str) -> str:
    block = '{"type":"tool_use","id":"call_1","name":"pay","input":%s}' % arguments
    return '{"type":"message","id":"1","model":"m","content":[%s],"stop_reason":"tool_use","usage":{}}' % block


STREAMED: Mapping[str, str] = {
    "openai": "data: " + openai(ARGUMENTS, key="delta") + "\n\ndata: [DONE]\n\n",
    "gemini": "data: " + gemini(ARGUMENTS) + "\n\n",
    "ollama": ollama(ARGUMENTS) + "\n",
}
"""Streams that hold arguments as JSON; the anthropic wire streams them as text."""
WHOLE: Mapping[str, str] = {
    "openai": openai(ARGUMENTS, key="message"),
    "gemini": gemini(ARGUMENTS),
    "ollama": ollama(ARGUMENTS),
    "anthropic": anthropic(ARGUMENTS),
}


def arguments_of(events: object) -> str:
    assert isinstance(events, list)
    return "".join(event.arguments_fragment for event in events if isinstance(event, ToolCallDelta))


@pytest.fixture(params=list(WHOLE))
def speaker(request: pytest.FixtureRequest) -> Speaker:
    """One of each wire: their dialects differ elsewhere."""
    return SPEAKERS[request.param]()


@pytest.fixture
def name(speaker: Speaker) -> str:
    return speaker.wire


async def test_numbers_that_came_as_json_keep_their_digits_in_streams(bench: Bench, name: str) -> None:
    if name in STREAMED:
        assert ARGUMENTS == arguments_of(await bench.stream([Head(), STREAMED[name].encode()]))
    else:
        fragments = [ARGUMENTS[start : start + 7] for start in range(0, len(ARGUMENTS), 7)]
        assert ARGUMENTS == arguments_of(
            await bench.stream([Head(), *bench.speaker.tool_stream([("call_1", "pay", fragments)])])
        )


async def test_numbers_that_came_as_json_keep_their_digits_in_whole_answers(bench: Bench, name: str) -> None:
    assert ARGUMENTS == arguments_of(await bench.complete(json_answer(WHOLE[name].encode())))


async def test_numbers_go_back_to_the_vendor_as_they_came(bench: Bench, name: str) -> None:
    call = Part(content=ToolCall(id="call_1", name="pay", arguments_json=ARGUMENTS))
    result = Part(content=ToolResult(tool_call_id="call_1", name="pay"))
    turns = (
        *hello().messages,
        Message(role=Role.ASSISTANT, parts=(call,)),
        Message(role=Role.TOOL, parts=(result,)),
    )

    await bench.complete(json_answer(WHOLE[name].encode()), ChatInput(messages=turns))

    sent = bench.server.requests[-1].body.decode()
    assert ARGUMENTS in sent or json.dumps(ARGUMENTS, ensure_ascii=False) in sent


async def test_a_call_without_arguments_has_an_empty_object(bench: Bench) -> None:
    streamed = await bench.stream([Head(), *bench.speaker.tool_stream([("call_1", "look", ["{}"])])])

    assert "{}" == arguments_of(streamed)


@pytest.mark.parametrize("speaker", ["openai"], indirect=True)
async def test_a_call_whose_server_leaves_its_arguments_out_has_an_empty_object(bench: Bench) -> None:
    whole = openai('""', key="message")
    stream = "data: " + openai('""', key="delta") + "\n\ndata: [DONE]\n\n"

    assert "{}" == arguments_of(await bench.complete(json_answer(whole.encode())))
    assert "{}" == arguments_of(await bench.stream([Head(), stream.encode()]))
