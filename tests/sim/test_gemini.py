"""The simulated gemini wire: Google's own client accepts what it says, and our wire understands its faults."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson
import pytest
from google import genai
from google.genai import errors, types

from turnout_server.core.chat import (
    ChatInput,
    Finished,
    JsonFormat,
    Message,
    Part,
    ReasoningDelta,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolResult,
    UsageReported,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability, FailureKind, FinishReason, ReasoningEffort, Target
from turnout_server.execution.gather import Gatherer
from turnout_server.ports import UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
SCHEMA_JSON = orjson.dumps(SCHEMA).decode()
LONG = "Rules of the yard. " * 400
KEY = "AIza-planted"
MODEL = "gemini-3.8-flash"
DECLARED = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in ("weather", "trains")
    ]
)
TOOLS = tuple(Tool(name=name, parameters_json_schema=SCHEMA_JSON) for name in ("weather", "trains"))


def user(words: str) -> Message:
    return Message(role=Role.USER, parts=(Part(content=Text(text=words)),))


HELLO = ChatInput(messages=(user("hello"),))


# Google's client


@pytest.fixture
async def google(sim: SimulatedServer) -> AsyncGenerator[genai.Client]:
    async with httpx.AsyncClient(trust_env=False) as http:
        base_url = sim.base_url("gemini").removesuffix("/v1beta")
        options = types.HttpOptions(base_url=base_url, api_version="v1beta", httpx_async_client=http)
        yield genai.Client(api_key=KEY, http_options=options)


async def test_client_reads_a_text_answer_with_usage(google: genai.Client) -> None:
    answer = await google.aio.models.generate_content(model=MODEL, contents="hello")

    assert answer.text
    assert answer.usage_metadata is not None
    assert len(answer.text.split(" ")) == answer.usage_metadata.candidates_token_count
    assert (answer.candidates or [])[0].finish_reason is types.FinishReason.STOP
    assert answer.model_version == MODEL


async def test_client_reads_a_stream_of_thoughts_and_words_whose_final_counts_come_last(google: genai.Client) -> None:
    settings = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    stream = await google.aio.models.generate_content_stream(model=MODEL, contents="hello", config=settings)
    chunks = [chunk async for chunk in stream]
    parts = [part for chunk in chunks for part in chunk.parts or ()]
    usage = chunks[-1].usage_metadata

    assert usage is not None
    assert usage.thoughts_token_count == len("".join(p.text or "" for p in parts if p.thought).split(" "))
    assert usage.candidates_token_count == len("".join(p.text or "" for p in parts if not p.thought).split(" "))
    assert any(part.thought_signature for part in parts)


async def test_client_reads_parallel_tool_calls(google: genai.Client) -> None:
    stream = await google.aio.models.generate_content_stream(
        model=MODEL, contents="use weather and trains", config=types.GenerateContentConfig(tools=[DECLARED])
    )
    calls = [call async for chunk in stream for call in chunk.function_calls or ()]

    assert [call.name for call in calls] == ["weather", "trains"]
    assert all(call.id and (call.args or {}).keys() == {"city", "days"} for call in calls)


async def test_client_sees_cached_tokens_when_a_long_prompt_returns(google: genai.Client) -> None:
    settings = types.GenerateContentConfig(system_instruction=LONG)
    cached = []
    for question in ("one", "two"):
        answer = await google.aio.models.generate_content(model=MODEL, contents=question, config=settings)
        assert answer.usage_metadata is not None
        cached.append(answer.usage_metadata.cached_content_token_count or 0)

    assert cached[0] == 0
    assert cached[1] >= 1024


async def test_client_gets_json_that_fits_its_schema(google: genai.Client) -> None:
    settings = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
    answer = await google.aio.models.generate_content(model=MODEL, contents="plan", config=settings)

    assert orjson.loads(answer.text or "").keys() == {"city", "days"}


async def test_client_lists_the_models(sim: SimulatedServer, google: genai.Client) -> None:
    sim.change("gemini", models=[MODEL])

    assert [model.name async for model in await google.aio.models.list()] == [f"models/{MODEL}"]


@pytest.mark.parametrize(
    ("problem", "code", "status"),
    [
        ("authentication", 400, "INVALID_ARGUMENT"),
        ("permission", 403, "PERMISSION_DENIED"),
        ("model_not_found", 404, "NOT_FOUND"),
        ("rate_limited", 429, "RESOURCE_EXHAUSTED"),
        ("quota", 429, "RESOURCE_EXHAUSTED"),
        ("overloaded", 503, "UNAVAILABLE"),
        ("server_error", 500, "INTERNAL"),
    ],
)
async def test_client_maps_errors_to_their_own_kinds(
    sim: SimulatedServer, google: genai.Client, problem: str, code: int, status: str
) -> None:
    sim.change("gemini", fault={"problem": problem})
    with pytest.raises(errors.APIError) as caught:
        await google.aio.models.generate_content(model=MODEL, contents="hello")

    assert (caught.value.code, caught.value.status) == (code, status)


# Our own wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """Our upstream to the simulated server."""

    upstream: HttpUpstream
    call: UpstreamCall

    async def stream(self, chat: ChatInput = HELLO) -> list[UpstreamEvent]:
        batches = self.upstream.stream(replace(self.call, chat=chat))
        return [event async for batch in batches for event in batch]

    async def complete(self, chat: ChatInput = HELLO) -> list[UpstreamEvent]:
        return list(await self.upstream.complete(replace(self.call, chat=chat)))


@pytest.fixture
async def wired(sim: SimulatedServer) -> AsyncGenerator[Wired]:
    sim.change("gemini", api_key=KEY, latency={"first_token_seconds": 0.005, "seconds_per_output_token": 0.0001})
    connection = ProviderConnection(
        provider="google",
        wire="gemini",
        dialect=dialect_of("google", "gemini"),
        credentials={"main": SecretReference(env="KEY")},
        allow_private=True,
    )
    upstream = build_upstreams([connection], Secrets([connection], environ={"KEY": KEY}))["google"]
    spec = TargetSpec(
        target=Target("google", MODEL),
        wire="gemini",
        base_url=sim.base_url("gemini"),
        capabilities=frozenset(Capability),
    )
    yield Wired(upstream=upstream, call=UpstreamCall(spec=spec, credential="main", chat=HELLO))
    await upstream.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_answer_is_read_to_its_proper_end_with_usage(wired: Wired, *, streamed: bool) -> None:
    events = await (wired.stream() if streamed else wired.complete())
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    usage = [event.usage for event in events if isinstance(event, UsageReported)][-1]

    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.STOP]
    assert usage.output_tokens == len(text.split(" "))
    assert (usage.input_tokens or 0) > 0


async def test_thinking_comes_with_its_counts_and_a_signature(wired: Wired) -> None:
    events = await wired.stream(replace(HELLO, reasoning_effort=ReasoningEffort.LOW))
    usage = [event.usage for event in events if isinstance(event, UsageReported)][-1]

    assert any(isinstance(event, ReasoningDelta) for event in events)
    assert any(isinstance(event, SignatureDelta) for event in events)
    assert (usage.reasoning_tokens or 0) > 0
    assert (usage.output_tokens or 0) > (usage.reasoning_tokens or 0)


async def test_answer_that_is_cut_by_its_limit_says_so(wired: Wired) -> None:
    events = await wired.stream(replace(HELLO, max_output_tokens=5))

    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.LENGTH]


async def test_json_fits_its_schema(wired: Wired) -> None:
    events = await wired.complete(replace(HELLO, response_format=JsonFormat(schema_json=SCHEMA_JSON)))

    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert orjson.loads(text).keys() == {"city", "days"}


@pytest.mark.parametrize("provider", ["google", "another"])
async def test_conversation_with_tools_goes_on_whoever_made_the_calls(wired: Wired, provider: str) -> None:
    asked = user("use weather and trains")
    events = await wired.stream(ChatInput(messages=(asked,), tools=TOOLS))
    gatherer = Gatherer()
    gatherer.add(event for event in events if isinstance(event, (ToolCallDelta, SignatureDelta)))
    turn = Message(role=Role.ASSISTANT, parts=gatherer.parts(provider))
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    results = tuple(
        Message(role=Role.TOOL, parts=(Part(content=ToolResult(tool_call_id=call.id, name=call.name)),))
        for call in calls
    )

    answer = await wired.stream(ChatInput(messages=(asked, turn, *results), tools=TOOLS))

    assert [call.name for call in calls] == ["weather", "trains"]
    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.TOOL_CALLS]
    assert [event.reason for event in answer if isinstance(event, Finished)] == [FinishReason.STOP]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 500}, FailureKind.SERVER_ERROR),
        ({"status": 503}, FailureKind.OVERLOADED),
        ({"problem": "overloaded"}, FailureKind.OVERLOADED),
        ({"status": 429}, FailureKind.RATE_LIMITED),
        ({"problem": "quota"}, FailureKind.QUOTA_EXHAUSTED),
        ({"status": 401}, FailureKind.AUTHENTICATION),
        ({"problem": "authentication"}, FailureKind.AUTHENTICATION),
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
    sim: SimulatedServer, wired: Wired, fault: dict[str, Any], kind: FailureKind
) -> None:
    sim.change("gemini", fault=fault)
    with pytest.raises(UpstreamError) as caught:
        await wired.stream()

    assert caught.value.kind is kind
    assert KEY not in str(caught.value)


async def test_stream_that_lingers_after_its_finish_is_complete(sim: SimulatedServer, wired: Wired) -> None:
    sim.change("gemini", fault={"kind": "linger", "seconds": 5.0})
    events = await wired.stream()

    assert [event.reason for event in events if isinstance(event, Finished)] == [FinishReason.STOP]


async def test_wait_that_stands_in_the_body_is_read(sim: SimulatedServer, wired: Wired) -> None:
    sim.change("gemini", fault={"status": 429, "retry_after_seconds": 7})
    with pytest.raises(UpstreamError) as caught:
        await wired.complete()

    assert caught.value.retry_after_seconds == 7.0


async def test_prompt_beyond_the_window_is_too_long(sim: SimulatedServer, wired: Wired) -> None:
    sim.change("gemini", context_window_tokens=10)
    with pytest.raises(UpstreamError) as caught:
        await wired.complete(ChatInput(messages=(user("word " * 100),)))

    assert caught.value.kind is FailureKind.CONTEXT_LENGTH


# What a vendor's client would never send


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (f"/models/{MODEL}:generateContent", {}, "contents"),
        (f"/models/{MODEL}:generateContent", {"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "role"),
        (f"/models/{MODEL}:generateContent", {"contents": [{"parts": []}]}, "parts"),
        (f"/models/{MODEL}:streamGenerateContent", {"contents": [{"parts": [{"text": "x"}]}]}, "alt=sse"),
        (
            f"/models/{MODEL}:generateContent",
            {"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{}]}]},
            "function_declarations",
        ),
        (
            f"/models/{MODEL}:generateContent",
            {
                "contents": [
                    {"role": "user", "parts": [{"text": "x"}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
                ]
            },
            "thought_signature",
        ),
    ],
)
async def test_request_that_the_vendor_would_refuse_is_refused(
    sim: SimulatedServer, http: httpx.AsyncClient, path: str, body: dict[str, Any], told: str
) -> None:
    response = await http.post(sim.base_url("gemini") + path, json=body, headers={"x-goog-api-key": KEY})

    assert response.status_code == 400
    assert told in response.json()["error"]["message"]


async def test_silent_stream_sends_no_event_at_all(sim: SimulatedServer, http: httpx.AsyncClient) -> None:
    sim.change("gemini", fault={"kind": "silent_stream", "seconds": 0.05})
    url = f"{sim.base_url('gemini')}/models/{MODEL}:streamGenerateContent?alt=sse"
    response = await http.post(url, json={"contents": [{"parts": [{"text": "x"}]}]})

    assert (response.status_code, response.content) == (200, b"")
