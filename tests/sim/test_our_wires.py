"""Our own wires against simulated providers, configured as the demonstration is: answers and faults are understood."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from turnout_server.config.build import build
from turnout_server.config.load import load
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    Message,
    Part,
    ReasoningDelta,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    Tool,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort
from turnout_server.demo.scene import Scene, Times
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

SCENE = Scene(times=Times.of(30.0))
NAMES = ["atlas", "boreal"]
HELLO = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="hello")),)),))
SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """A simulated server and our upstreams to it."""

    server: SimulatedServer
    specs: dict[str, TargetSpec]
    upstreams: dict[str, HttpUpstream]

    def call(self, name: str, chat: ChatInput) -> UpstreamCall:
        spec = self.specs[name]
        return UpstreamCall(spec=spec, credential=spec.credentials[0].label, chat=chat, max_output_tokens=4000)

    async def stream(self, name: str, chat: ChatInput = HELLO) -> list[UpstreamEvent]:
        batches = self.upstreams[name].stream(self.call(name, chat))
        return [event async for batch in batches for event in batch]

    async def complete(self, name: str, chat: ChatInput = HELLO) -> Sequence[UpstreamEvent]:
        return await self.upstreams[name].complete(self.call(name, chat))


@pytest.fixture
async def wired(tmp_path: Path) -> AsyncGenerator[Wired]:
    keys = {provider.key_variable: provider.key for provider in SCENE.cast}
    async with SimulatedServer({provider.name: provider.settings() for provider in SCENE.cast}, seed=3) as server:
        for name in server.providers:
            server.change(name, latency={"first_token_seconds": 0.005, "seconds_per_output_token": 0.0001})
        file = tmp_path / "turnout.yaml"
        SCENE.write_configuration(file, {name: server.base_url(name) for name in server.providers})
        parts = build(load(str(file), keys).configuration, keys)
        upstreams = dict(build_upstreams(parts.connections, Secrets(parts.connections, environ=keys)))
        yield Wired(
            server=server,
            specs={spec.target.provider: spec for spec in parts.fleet.specs},
            upstreams=upstreams,
        )
        for upstream in upstreams.values():
            await upstream.aclose()


def test_configuration_of_the_demonstration_has_no_warning(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    SCENE.write_configuration(file, {provider.name: "http://127.0.0.1:9/v1" for provider in SCENE.cast})
    loaded = load(str(file), {provider.key_variable: provider.key for provider in SCENE.cast})

    assert loaded.warnings == ()


@pytest.mark.parametrize("name", NAMES)
async def test_stream_is_read_to_its_proper_end_with_usage(wired: Wired, name: str) -> None:
    events = await wired.stream(name)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    usage = [event.usage for event in events if isinstance(event, UsageReported)][-1]

    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.STOP]
    assert usage.output_tokens == len(text.split(" "))
    assert (usage.input_tokens or 0) > 0


@pytest.mark.parametrize("name", NAMES)
async def test_whole_answer_is_read_with_the_rate_limit(wired: Wired, name: str) -> None:
    events = await wired.complete(name)

    assert isinstance(events[0], ResponseHead)
    assert events[0].rate_limit is not None
    assert events[0].rate_limit.requests is not None
    assert events[0].rate_limit.requests.remaining == 59_999
    assert any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize("name", NAMES)
async def test_parallel_tool_calls_are_gathered_from_fragments(wired: Wired, name: str) -> None:
    tools = tuple(Tool(name=tool, parameters_json_schema=SCHEMA) for tool in ("weather", "trains"))
    prompt = Message(role=Role.USER, parts=(Part(content=Text(text="use weather and trains")),))
    events = await wired.stream(name, ChatInput(messages=(prompt,), tools=tools))
    pieces = [event for event in events if isinstance(event, ToolCallDelta)]
    arguments = {index: "".join(p.arguments_fragment for p in pieces if p.part_index == index) for index in (0, 1)}

    assert [piece.name for piece in pieces if piece.name] == ["weather", "trains"]
    assert all(text.startswith('{"city":"') and text.endswith('"}') for text in arguments.values())
    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.TOOL_CALLS]


async def test_thinking_comes_with_its_signature(wired: Wired) -> None:
    chat = ChatInput(messages=HELLO.messages, reasoning_effort=ReasoningEffort.LOW)
    spec = wired.specs["atlas"]
    wired.specs["atlas"] = replace(spec, capabilities=spec.capabilities | {Capability.THINKING})
    events = await wired.stream("atlas", chat)

    assert any(isinstance(event, ReasoningDelta) for event in events)
    assert any(isinstance(event, SignatureDelta) for event in events)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 500}, FailureKind.SERVER_ERROR),
        ({"status": 503}, FailureKind.OVERLOADED),
        ({"problem": "overloaded"}, FailureKind.OVERLOADED),
        ({"status": 429}, FailureKind.RATE_LIMITED),
        ({"problem": "quota"}, FailureKind.QUOTA_EXHAUSTED),
        ({"status": 401}, FailureKind.AUTHENTICATION),
        ({"status": 403}, FailureKind.PERMISSION_DENIED),
        ({"problem": "model_not_found"}, FailureKind.MODEL_NOT_FOUND),
        ({"problem": "invalid_request"}, FailureKind.INVALID_REQUEST),
        ({"problem": "context_length"}, FailureKind.CONTEXT_LENGTH),
        ({"problem": "content_filtered"}, FailureKind.CONTENT_FILTERED),
        ({"kind": "reset"}, FailureKind.CONNECTION),
        ({"kind": "cut"}, FailureKind.TRUNCATED),
        ({"kind": "cut_clean"}, FailureKind.TRUNCATED),
        ({"kind": "no_end"}, FailureKind.TRUNCATED),
        ({"kind": "malformed"}, FailureKind.PROTOCOL),
        ({"kind": "error_event"}, FailureKind.OVERLOADED),
    ],
)
async def test_fault_of_a_stream_is_of_its_kind(
    wired: Wired, name: str, fault: dict[str, Any], kind: FailureKind
) -> None:
    wired.server.change(name, fault=fault)
    with pytest.raises(UpstreamError) as caught:
        await wired.stream(name)

    assert caught.value.kind is kind
    assert SCENE.provider(name).key not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
async def test_wait_that_the_provider_asks_for_is_read(wired: Wired, name: str) -> None:
    wired.server.change(name, fault={"status": 429, "retry_after_seconds": 7})
    with pytest.raises(UpstreamError) as caught:
        await wired.complete(name)

    assert caught.value.retry_after_seconds == 7.0
