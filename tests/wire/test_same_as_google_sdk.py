"""Compares, field by field, Google's own SDK with the gemini wire: what they send, and what they read."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest
from google import genai
from google.genai import errors, types

from tests.wire.conftest import KEY
from tests.wire.gemini_speaker import GeminiSpeaker
from tests.wire.scripted_server import Head, Recorded, Script, ScriptedServer, json_answer
from tests.wire.speakers import hello, user
from tests.wire.test_same_as_sdk import (
    DOCUMENT,
    IMAGES,
    PDF,
    PNG,
    SCHEMA,
    SYSTEM,
    TOOL_TURNS,
    WEATHER,
    ours,
    said,
    text,
)
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    JsonFormat,
    Media,
    MediaKind,
    Part,
    Reasoning,
    ReasoningDelta,
    ResponseStarted,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, ReasoningEffort
from turnout_server.ports import UpstreamError
from turnout_server.providers.dialects import GOOGLE
from turnout_server.providers.gemini.answer import FINISH_REASONS, GeminiDecoder
from turnout_server.providers.sse import EventSplitter

VENDOR = GeminiSpeaker()
SCHEMA_JSON = orjson.dumps(SCHEMA).decode()
SIGNATURE = b"signed"
SIGNATURE64 = b64encode(SIGNATURE).decode()
GOOGLES = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="weather", description="Tells the weather.", parameters_json_schema=SCHEMA)
    ]
)


def turn(role: str, *parts: types.Part) -> types.Content:
    return types.Content(role=role, parts=list(parts))


def words(value: str) -> types.Part:
    return types.Part(text=value)


def signed(part: types.Part) -> types.Part:
    return part.model_copy(update={"thought_signature": SIGNATURE})


def called(call_id: str, city: str) -> types.Part:
    return types.Part(function_call=types.FunctionCall(id=call_id, name="weather", args={"city": city}))


def returned(call_id: str, response: dict[str, str], *media: types.FunctionResponsePart) -> types.Part:
    return types.Part(
        function_response=types.FunctionResponse(
            id=call_id, name="weather", response=response, parts=list(media) or None
        )
    )


def config(**fields: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(**fields)


def calling(mode: str, *names: str) -> types.ToolConfig:
    return types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode(mode), allowed_function_names=list(names) or None
        )
    )


def thinking(**fields: Any) -> types.GenerateContentConfig:
    return config(thinking_config=types.ThinkingConfig(**fields))


REQUESTS: dict[str, tuple[str, ChatInput, list[types.Content], types.GenerateContentConfig | None]] = {
    "nothing but a word": ("gemini-2.5-flash", ChatInput(messages=(user("Hi"),)), [turn("user", words("Hi"))], None),
    "plain": (
        "gemini-2.5-flash",
        ChatInput(
            messages=(SYSTEM, user("Hi"), said(Role.ASSISTANT, text("Hello.")), user("And?")),
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=64,
            stop=("END",),
            seed=7,
        ),
        [turn("user", words("Hi")), turn("model", words("Hello.")), turn("user", words("And?"))],
        config(
            system_instruction=types.Content(parts=[words("Be brief.")]),
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=64,
            stop_sequences=["END"],
            seed=7,
        ),
    ),
    "images, documents, audio": (
        "gemini-2.5-flash",
        ChatInput(
            messages=(
                IMAGES,
                said(Role.ASSISTANT, text("A cat.")),
                DOCUMENT,
                said(Role.ASSISTANT, text("Short.")),
                said(Role.USER, Part(content=Media(kind=MediaKind.AUDIO, media_type="audio/mp3", data=b"mp3"))),
            )
        ),
        [
            turn(
                "user",
                words("What is this?"),
                types.Part.from_bytes(data=PNG, mime_type="image/png"),
                types.Part.from_uri(file_uri="https://example.com/a.png"),
            ),
            turn("model", words("A cat.")),
            turn("user", types.Part.from_bytes(data=PDF, mime_type="application/pdf"), words("Sum it up.")),
            turn("model", words("Short.")),
            turn("user", types.Part.from_bytes(data=b"mp3", mime_type="audio/mp3")),
        ],
        None,
    ),
    "tools": (
        "gemini-2.5-flash",
        ChatInput(
            messages=(*TOOL_TURNS, user("And?")),
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="weather"),
            parallel_tool_calls=False,
        ),
        [
            turn("user", words("Weather in Paris and Rome?")),
            turn("model", words("Let me look."), called("call_1", "Paris"), called("call_2", "Rome")),
            turn(
                "user",
                returned("call_1", {"output": "rain"}),
                returned("call_2", {"error": "no such city"}),
                words("And?"),
            ),
        ],
        config(tools=[GOOGLES], tool_config=calling("ANY", "weather")),
    ),
    "tools it must use": (
        "gemini-2.5-flash",
        ChatInput(messages=(user("Hi"),), tools=(WEATHER,), tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED)),
        [turn("user", words("Hi"))],
        config(tools=[GOOGLES], tool_config=calling("ANY")),
    ),
    "signed calls, and media that a tool returned": (
        "gemini-3.1-pro-preview",
        ChatInput(
            messages=(
                user("Paris?"),
                said(
                    Role.ASSISTANT,
                    Part(
                        content=ToolCall(id="c1", name="weather", arguments_json='{"city":"Paris"}'),
                        signature=SIGNATURE64,
                        origin_provider="google",
                    ),
                    Part(content=ToolCall(id="c2", name="weather", arguments_json='{"city":"Rome"}')),
                ),
                said(
                    Role.TOOL,
                    Part(
                        content=ToolResult(
                            tool_call_id="c1",
                            name="weather",
                            content=(text("see"), Part(content=Media(kind=MediaKind.IMAGE, data=PNG))),
                        )
                    ),
                ),
                said(Role.TOOL, Part(content=ToolResult(tool_call_id="c2", content=(text("sun"),)))),
            ),
            tools=(WEATHER,),
        ),
        [
            turn("user", words("Paris?")),
            turn("model", signed(called("c1", "Paris")), called("c2", "Rome")),
            turn(
                "user",
                returned(
                    "c1",
                    {"output": "see"},
                    types.FunctionResponsePart(inline_data=types.FunctionResponseBlob(data=PNG, mime_type="image/png")),
                ),
                returned("c2", {"output": "sun"}),
            ),
        ],
        config(tools=[GOOGLES]),
    ),
    "signed thoughts and words": (
        "gemini-3.8-flash",
        ChatInput(
            messages=(
                user("Think."),
                said(
                    Role.ASSISTANT,
                    Part(content=Reasoning(text="Hm."), signature=SIGNATURE64, origin_provider="google"),
                    Part(content=Text(text="Yes."), signature=SIGNATURE64, origin_provider="google"),
                    Part(content=Reasoning(), signature=SIGNATURE64, origin_provider="google"),
                ),
                user("Sure?"),
            ),
            temperature=0.1,
            reasoning_effort=ReasoningEffort.LOW,
        ),
        [
            turn("user", words("Think.")),
            turn(
                "model",
                signed(types.Part(text="Hm.", thought=True)),
                signed(words("Yes.")),
                signed(words("")),
            ),
            turn("user", words("Sure?")),
        ],
        thinking(thinking_level=types.ThinkingLevel.LOW, include_thoughts=True),
    ),
    "thinking by budget": (
        "gemini-2.5-pro",
        ChatInput(messages=(user("Think."),), reasoning_effort=ReasoningEffort.MEDIUM),
        [turn("user", words("Think."))],
        thinking(thinking_budget=8192, include_thoughts=True),
    ),
    "no thinking": (
        "gemini-2.5-flash",
        ChatInput(messages=(user("Hi"),), reasoning_effort=ReasoningEffort.NONE),
        [turn("user", words("Hi"))],
        thinking(thinking_budget=0),
    ),
    "schema": (
        "gemini-2.5-flash",
        ChatInput(messages=(user("Where?"),), response_format=JsonFormat(name="place", schema_json=SCHEMA_JSON)),
        [turn("user", words("Where?"))],
        config(response_mime_type="application/json", response_json_schema=SCHEMA),
    ),
    "any json": (
        "gemini-2.5-flash",
        ChatInput(messages=(user("Where?"),), response_format=JsonFormat()),
        [turn("user", words("Where?"))],
        config(response_mime_type="application/json"),
    ),
    "schema beside tools": (
        "gemini-3.1-pro-preview",
        ChatInput(messages=(user("Hi"),), tools=(WEATHER,), response_format=JsonFormat(schema_json=SCHEMA_JSON)),
        [turn("user", words("Hi"))],
        config(tools=[GOOGLES], response_mime_type="application/json", response_json_schema=SCHEMA),
    ),
    "options": (
        "gemini-2.5-flash",
        ChatInput(
            messages=(user("Hi"),),
            temperature=0.5,
            tools=(WEATHER,),
            provider_options={
                "google": {
                    "generationConfig": {"topK": 40.0},
                    "safetySettings": [
                        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
                    ],
                    "cachedContent": "cachedContents/c1",
                    "tools": [{"googleSearch": {}}],
                },
                "openai": {"x": 1},
            },
        ),
        [turn("user", words("Hi"))],
        config(
            temperature=0.5,
            top_k=40,
            tools=[GOOGLES, types.Tool(google_search=types.GoogleSearch())],
            cached_content="cachedContents/c1",
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_NONE,
                )
            ],
        ),
    ),
}


def client(server: ScriptedServer, http: httpx.AsyncClient) -> genai.Client:
    # The SDK's newest version asks for v1, with the same fields; the documentation, and others before it, for v1beta.
    # Over aiohttp, which it would take by itself, it warns of a class of its own.
    return genai.Client(
        api_key=KEY,
        http_options=types.HttpOptions(base_url=server.url, api_version="v1beta", httpx_async_client=http),
    )


def meant(body: bytes) -> dict[str, Any]:
    """The body without what makes no difference: an empty configuration, and the order of the kinds of tools."""
    found: dict[str, Any] = camel(orjson.loads(body))
    if not found.get("generationConfig"):
        found.pop("generationConfig", None)
    if "tools" in found:
        found["tools"].sort(key=min)
    return found


def camel(value: Any) -> Any:
    """The SDK spells some fields one way, some the other; the API takes both."""
    if isinstance(value, list):
        return [camel(inner) for inner in value]
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): camel(inner) for key, inner in value.items()}
    return value


async def theirs(
    server: ScriptedServer,
    script: Script,
    model: str,
    contents: list[types.Content],
    settings: types.GenerateContentConfig | None,
    *,
    stream: bool,
) -> tuple[Recorded, list[types.GenerateContentResponse]]:
    server.scripts.append(script)
    # Its type wants a list of a wider kind.
    asked: Any = contents
    async with httpx.AsyncClient(trust_env=False) as http:
        models = client(server, http).aio.models
        if stream:
            answers = await models.generate_content_stream(model=model, contents=asked, config=settings)
            chunks = [chunk async for chunk in answers]
        else:
            chunks = [await models.generate_content(model=model, contents=asked, config=settings)]
    return server.requests[-1], chunks


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_gemini_wire_sends_what_the_google_sdk_sends(server: ScriptedServer, name: str, *, stream: bool) -> None:
    model, chat, contents, settings = REQUESTS[name]
    mine = await ours(VENDOR, server, model, chat, base_url=server.url, stream=stream)
    script: Script = [Head(), *VENDOR.text_stream(["x"])] if stream else json_answer(VENDOR.whole_text("x"))
    sent, _ = await theirs(server, script, model, contents, settings, stream=stream)

    assert meant(sent.body) == meant(mine.body)
    assert (sent.method, sent.path) == (mine.method, mine.path)
    assert all(sent.headers[key] == mine.headers[key] for key in ("x-goog-api-key", "content-type"))


ANSWERS: dict[str, list[bytes]] = {
    "words": VENDOR.text_stream(["Hel", "lo, ", "wörld"]),
    "thoughts and words": VENDOR.reasoning_stream(["Hm, ", "well."], "Yes."),
    "tool calls": VENDOR.tool_stream([("c1", "weather", ['{"city":"Paris"}']), ("c2", "now", ["{}"])]),
    "signatures": [
        VENDOR.chunk({"text": "Hm.", "thought": True}),
        VENDOR.chunk({"text": "Let me look.", "thoughtSignature": SIGNATURE64}),
        VENDOR.chunk(
            VENDOR.call("c1", "weather", '{"city":"Paris"}') | {"thoughtSignature": SIGNATURE64},
            VENDOR.call("c2", "weather", '{"city":"Rome"}'),
        ),
        *VENDOR.end(),
    ],
    "the limit": VENDOR.text_stream(["x"], reason="length"),
    "a filter": VENDOR.text_stream(["x"], reason="filter"),
    "another reason": [VENDOR.chunk({"text": "x"}), *VENDOR.end("LANGUAGE")],
    "things that are not passed on": [
        VENDOR.chunk({"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "x"}),
        *VENDOR.end(),
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_gemini_wire_reads_what_the_google_sdk_reads(server: ScriptedServer, name: str) -> None:
    events = decoded(ANSWERS[name])
    _, chunks = await theirs(
        server, [Head(), *ANSWERS[name]], "gemini-2.5-flash", [turn("user", words("Hi"))], None, stream=True
    )
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        for part in (candidate.content.parts if candidate.content else None) or ()
    ]
    usage, reason = chunks[-1].usage_metadata, (chunks[-1].candidates or [])[0].finish_reason

    assert [p.text for p in parts if p.text and not p.thought] == [e.text for e in events if isinstance(e, TextDelta)]
    assert [p.text for p in parts if p.text and p.thought] == [e.text for e in events if isinstance(e, ReasoningDelta)]
    assert [(c.id, c.name, c.args) for p in parts if (c := p.function_call)] == [
        (e.id, e.name, orjson.loads(e.arguments_fragment)) for e in events if isinstance(e, ToolCallDelta)
    ]
    assert [b64encode(p.thought_signature).decode() for p in parts if p.thought_signature] == [
        e.signature for e in events if isinstance(e, SignatureDelta)
    ]
    started = next(event for event in events if isinstance(event, ResponseStarted))
    assert (chunks[0].model_version, chunks[0].response_id) == (started.model, started.response_id)
    mine = [event.usage for event in events if isinstance(event, UsageReported)][-1]
    assert usage is not None
    assert usage.total_token_count == (mine.input_tokens or 0) + (mine.output_tokens or 0)
    assert (usage.cached_content_token_count, usage.thoughts_token_count) == (
        mine.cached_input_tokens,
        mine.reasoning_tokens,
    )
    assert reason is not None
    expected = FINISH_REASONS.get(reason.value, FinishReason.OTHER)
    if expected is FinishReason.STOP and any(part.function_call for part in parts):
        expected = FinishReason.TOOL_CALLS
    assert [expected] == [event.reason for event in events if isinstance(event, Finished)]


def test_every_finish_reason_of_the_wire_is_one_that_the_sdk_knows() -> None:
    known = {reason.value for reason in types.FinishReason}

    assert set() == set(FINISH_REASONS) - known


async def test_blocked_prompt_is_seen_by_both(server: ScriptedServer) -> None:
    _, chunks = await theirs(
        server, [Head(), *VENDOR.refusal_stream()], "m", [turn("user", words("Hi"))], None, stream=True
    )

    assert chunks[0].prompt_feedback is not None
    assert chunks[0].prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT


def decoded(stream: Sequence[bytes]) -> list[Any]:
    decoder, splitter = GeminiDecoder(hello(), GOOGLE.vendor), EventSplitter()
    events: list[Any] = []
    for block in splitter.feed(b"".join(stream)):
        decoder.feed(block, events)
    decoder.end(events)
    return events


async def test_error_inside_a_stream_fails_for_both(server: ScriptedServer) -> None:
    script: Script = [Head(), VENDOR.error_event("overloaded_error")]
    with pytest.raises(errors.APIError):
        await theirs(server, script, "m", [turn("user", words("Hi"))], None, stream=True)
    with pytest.raises(UpstreamError) as caught:
        decoded([VENDOR.error_event("overloaded_error")])

    assert FailureKind.OVERLOADED is caught.value.kind
