"""How the gemini wire asks: what is its own in paths, headers and bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.wire.conftest import KEY, Bench, connection_of, secrets_of
from tests.wire.gemini_speaker import GeminiSpeaker, content_of, decoded
from tests.wire.scripted_server import Head, ScriptedServer
from tests.wire.speakers import as_read, hello, spec_of, user
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
from turnout_server.core.model import Capability, FailureKind, ReasoningEffort
from turnout_server.execution.gather import Gatherer
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import GOOGLE, OPENAI_COMPATIBLE
from turnout_server.providers.gemini import GeminiWire, generate_url
from turnout_server.providers.gemini.contents import UNSIGNED
from turnout_server.providers.gemini.models import facts_of
from turnout_server.providers.media import MEDIA_BY_BYTES, MEDIA_BY_URL
from turnout_server.providers.upstream import build_upstreams

VENDOR = GeminiSpeaker()
HOST = "https://generativelanguage.googleapis.com"
SCHEMA_JSON = '{"type":"object","properties":{"city":{"type":"string"}}}'
CALL = Part(content=ToolCall(id="c1", name="f", arguments_json='{"a":1}'))


@pytest.fixture
async def bench(server: ScriptedServer) -> AsyncIterator[Bench]:
    connection = connection_of(VENDOR)
    upstream = build_upstreams([connection], secrets_of(connection))["google"]
    call = UpstreamCall(spec=spec_of(VENDOR, server.url), credential="main", chat=hello())
    yield Bench(speaker=VENDOR, server=server, upstream=upstream, call=call)
    await upstream.aclose()


def call_of(chat: ChatInput, model: str = "gemini-2.5-flash", **call: Any) -> UpstreamCall:
    spec = spec_of(VENDOR, HOST)
    return UpstreamCall(spec=replace(spec, target=replace(spec.target, model=model)), credential="", chat=chat, **call)


def body_of(chat: ChatInput, model: str = "gemini-2.5-flash", **call: Any) -> dict[str, Any]:
    return as_read(GeminiWire().body(call_of(chat, model, **call), GOOGLE, stream=False))


def turns_of(*messages: Message, model: str = "gemini-2.5-flash") -> list[Any]:
    turns: list[Any] = body_of(ChatInput(messages=messages), model)["contents"]
    return turns


def said(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def result(call_id: str, *content: Part, name: str = "") -> Message:
    return said(Role.TOOL, Part(content=ToolResult(tool_call_id=call_id, name=name, content=content)))


def text(value: str) -> Part:
    return Part(content=Text(text=value))


def refused(chat: ChatInput, model: str = "gemini-2.5-flash") -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        body_of(chat, model)
    assert FailureKind.INVALID_REQUEST is caught.value.kind
    assert not caught.value.possibly_billed
    return caught.value


# Where calls go


@pytest.mark.parametrize(
    ("base", "model", "path"),
    [
        (HOST, "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        (f"{HOST}/", "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        (f"{HOST}/v1beta", "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        (f"{HOST}/v1/", "gemini-2.5-flash", "/v1/models/gemini-2.5-flash"),
        (f"{HOST}/v1alpha/models", "gemini-2.5-flash", "/v1alpha/models/gemini-2.5-flash"),
        (f"{HOST}/v1beta", "models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash"),
        (f"{HOST}/v1beta", "tunedModels/mine", "/v1beta/tunedModels/mine"),
        (f"{HOST}/v1beta1/publishers/google", "gemini-2.5-pro", "/v1beta1/publishers/google/models/gemini-2.5-pro"),
        (f"{HOST}/proxy", "a b?c", "/proxy/v1beta/models/a%20b%3Fc"),
    ],
)
def test_model_and_version_are_part_of_the_path(base: str, model: str, path: str) -> None:
    assert f"{HOST}{path}:generateContent" == generate_url(base, model, stream=False)
    assert f"{HOST}{path}:streamGenerateContent?alt=sse" == generate_url(base, model, stream=True)


async def test_key_goes_in_its_header_and_never_in_the_url(bench: Bench) -> None:
    await bench.stream([Head(), *VENDOR.text_stream(["x"])])

    request = bench.server.requests[0]
    assert KEY == request.headers["x-goog-api-key"]
    assert KEY not in request.path
    assert "authorization" not in request.headers


def test_other_ways_to_authenticate_are_those_of_the_dialect() -> None:
    assert {"authorization": "Bearer k"} == dict(GeminiWire().headers("k", OPENAI_COMPATIBLE))
    assert {} == dict(GeminiWire().headers("", GOOGLE))


# Conversations


def test_system_turns_go_to_the_top_wherever_they_stand() -> None:
    chat = ChatInput(messages=(said(Role.SYSTEM, text("A")), user("Hi"), said(Role.SYSTEM, text("B"))))

    assert {"parts": [{"text": "A"}, {"text": "B"}]} == body_of(chat)["systemInstruction"]


def test_turns_of_one_role_that_follow_each_other_become_one() -> None:
    turns = turns_of(user("a"), user("b"), said(Role.ASSISTANT, text("c")), said(Role.ASSISTANT, text("d")), user("e"))

    expected = [("user", ["a", "b"]), ("model", ["c", "d"]), ("user", ["e"])]
    assert expected == [(turn["role"], [part["text"] for part in turn["parts"]]) for turn in turns]


def test_empty_texts_and_turns_are_not_sent() -> None:
    turns = turns_of(user("a"), said(Role.ASSISTANT, text("")), said(Role.USER, text(""), text("b")))

    assert [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}] == turns


def test_results_stand_before_what_else_the_user_says() -> None:
    turns = turns_of(user("x"), said(Role.ASSISTANT, CALL), result("c1", text("r1")), user("Also:"), result("c2"))

    parts = turns[2]["parts"]
    assert ["c1", "c2", None] == [part.get("functionResponse", {}).get("id") for part in parts]


def test_result_without_a_name_gets_the_name_of_its_call() -> None:
    turns = turns_of(user("x"), said(Role.ASSISTANT, CALL), result("c1"), result("unknown"), result("c1", name="g"))

    assert ["f", "unknown", "g"] == [part["functionResponse"]["name"] for part in turns[2]["parts"]]


@pytest.mark.parametrize(("error", "key"), [(False, "output"), (True, "error")])
def test_result_says_whether_the_tool_failed(key: str, *, error: bool) -> None:
    part = Part(content=ToolResult(tool_call_id="c1", content=(text("a"), text("b")), is_error=error))

    turns = turns_of(user("x"), said(Role.ASSISTANT, CALL), said(Role.TOOL, part))

    assert {key: "a\nb"} == turns[2]["parts"][0]["functionResponse"]["response"]


def test_older_models_get_media_of_tools_in_a_turn_of_their_own() -> None:
    image = Part(content=Media(kind=MediaKind.IMAGE, data=b"x"))
    messages = (user("x"), said(Role.ASSISTANT, CALL), result("c1", image), result("c2", text("y")), user("And?"))

    older, newer = turns_of(*messages), turns_of(*messages, model="gemini-3.8-flash")

    assert [["functionResponse"] * 2, ["text", "inlineData", "text"]] == [
        [next(iter(part)) for part in turn["parts"]] for turn in older[2:]
    ]
    assert "parts" not in older[2]["parts"][0]["functionResponse"]
    assert "image/png" == newer[2]["parts"][0]["functionResponse"]["parts"][0]["inlineData"]["mimeType"]


@pytest.mark.parametrize("arguments", ["{bad", "[1]", '"a"'])
def test_arguments_that_are_no_object_are_wrapped(arguments: str) -> None:
    part = Part(content=ToolCall(id="c1", name="f", arguments_json=arguments))

    assert {"arguments": arguments} == turns_of(user("x"), said(Role.ASSISTANT, part))[1]["parts"][0]["functionCall"][
        "args"
    ]


def test_result_in_a_turn_of_the_assistant_is_refused() -> None:
    refused(ChatInput(messages=(said(Role.ASSISTANT, Part(content=ToolResult(tool_call_id="c1"))),)))


# Opaque state


@pytest.mark.parametrize("origin", ["openai", ""])
def test_state_of_another_provider_is_not_sent(origin: str) -> None:
    turns = turns_of(
        user("x"),
        said(
            Role.ASSISTANT,
            Part(content=Reasoning(text="t"), signature="s", origin_provider=origin),
            Part(content=Reasoning(redacted_data=b"d"), origin_provider=origin),
            Part(content=Text(text="Yes."), signature="s", origin_provider=origin),
        ),
    )

    assert [{"text": "Yes."}] == turns[1]["parts"]


def test_unsigned_thoughts_are_not_sent() -> None:
    turns = turns_of(user("x"), said(Role.ASSISTANT, Part(content=Reasoning(text="t")), text("Yes.")))

    assert [{"text": "Yes."}] == turns[1]["parts"]


@pytest.mark.parametrize(
    ("model", "expected"), [("gemini-2.5-pro", [None, None]), ("gemini-3-pro-preview", [UNSIGNED, None])]
)
def test_first_call_of_another_vendor_says_that_it_has_no_signature_where_one_is_demanded(
    model: str, expected: list[str | None]
) -> None:
    turns = turns_of(user("x"), said(Role.ASSISTANT, text("Well."), CALL, CALL), result("c1"), model=model)

    assert expected == [part.get("thoughtSignature") for part in turns[1]["parts"][1:]]


def test_signed_call_keeps_its_signature() -> None:
    signed = replace(CALL, signature="c2ln", origin_provider="google")

    turns = turns_of(user("x"), said(Role.ASSISTANT, signed, CALL), result("c1"), model="gemini-3-pro-preview")

    assert ["c2ln", None] == [part.get("thoughtSignature") for part in turns[1]["parts"]]


def test_signatures_of_an_answer_go_back_on_the_parts_that_brought_them() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True},
        {"text": "", "thoughtSignature": "YQ=="},
        {"text": "Let me "},
        {"text": "look.", "thoughtSignature": "Yg=="},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Yw=="},
        {"functionCall": {"id": "c2", "name": "f", "args": {}}},
    ]
    gatherer = Gatherer()
    gatherer.add(content_of(decoded(*(VENDOR.response([part]) for part in parts))))

    turns = turns_of(user("x"), said(Role.ASSISTANT, *gatherer.parts("google")), result("c1"), result("c2"))

    assert [
        {"text": "", "thoughtSignature": "YQ=="},
        {"text": "Let me look.", "thoughtSignature": "Yg=="},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Yw=="},
        {"functionCall": {"id": "c2", "name": "f", "args": {}}},
    ] == turns[1]["parts"]


# Media


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (Media(kind=MediaKind.IMAGE, data=b"x"), {"inlineData": {"mimeType": "image/png", "data": "eA=="}}),
        (
            Media(kind=MediaKind.AUDIO, media_type="audio/x-wav", data=b"x"),
            {"inlineData": {"mimeType": "audio/wav", "data": "eA=="}},
        ),
        (
            Media(kind=MediaKind.DOCUMENT, url="https://h/a.PDF?x=1"),
            {"fileData": {"fileUri": "https://h/a.PDF?x=1", "mimeType": "application/pdf"}},
        ),
        (
            Media(kind=MediaKind.IMAGE, media_type="image/webp", url="https://h/a"),
            {"fileData": {"fileUri": "https://h/a", "mimeType": "image/webp"}},
        ),
        (Media(kind=MediaKind.IMAGE, url="https://h/a"), {"fileData": {"fileUri": "https://h/a"}}),
    ],
)
def test_media_go_as_bytes_or_as_a_file_to_fetch(media: Media, expected: dict[str, Any]) -> None:
    assert [expected] == turns_of(said(Role.USER, Part(content=media)))[0]["parts"]


@pytest.mark.parametrize("kind", list(MediaKind))
@pytest.mark.parametrize("form", ["data", "url"])
def test_table_of_media_says_what_the_wire_takes(kind: MediaKind, form: str) -> None:
    media = Media(kind=kind, data=b"x") if form == "data" else Media(kind=kind, url="https://h/a")
    table = MEDIA_BY_BYTES if form == "data" else MEDIA_BY_URL
    capability = {
        MediaKind.IMAGE: Capability.VISION,
        MediaKind.AUDIO: Capability.AUDIO,
        MediaKind.DOCUMENT: Capability.DOCUMENTS,
    }[kind]
    chat = ChatInput(messages=(said(Role.USER, Part(content=media)),))

    if capability in table["gemini"]:
        assert body_of(chat)["contents"]
    else:
        refused(chat)


def test_media_without_anything_in_them_are_refused() -> None:
    refused(ChatInput(messages=(said(Role.USER, Part(content=Media(kind=MediaKind.IMAGE))),)))


# Models


@pytest.mark.parametrize(
    ("model", "thinks_by", "sampling", "with_tools"),
    [
        ("gemini-1.5-pro", "", True, False),
        ("gemini-2.0-flash", "", True, False),
        ("gemini-2.5-pro", "budget", True, False),
        ("gemini-2.5-flash-lite-preview-09-2025", "budget", True, False),
        ("models/gemini-3-pro-preview", "level", True, True),
        ("gemini-3.1-pro-preview-customtools", "level", True, True),
        ("gemini-3.5-flash", "level", True, True),
        ("gemini-3.5-flash-lite", "level", False, True),
        ("gemini-3.6-flash", "level", False, True),
        ("gemini-flash-latest", "level", False, True),
        ("gemini-4-argon", "level", False, True),
        ("house-model", "", True, False),
    ],
)
def test_models_are_known_by_their_names(model: str, thinks_by: str, *, sampling: bool, with_tools: bool) -> None:
    facts = facts_of(model)

    found = "level" if facts.levels else "budget" if facts.budget else ""
    assert (thinks_by, sampling, with_tools) == (found, facts.sampling, facts.json_with_tools)


@pytest.mark.parametrize(
    ("model", "none", "low", "medium", "high"),
    [
        ("gemini-2.5-pro", 128, 1024, 8192, 24_576),
        ("gemini-2.5-flash", 0, 1024, 8192, 24_576),
        ("gemini-2.5-flash-lite", 0, 1024, 8192, 24_576),
        ("gemini-3-pro-preview", "LOW", "LOW", "HIGH", "HIGH"),
        ("gemini-3.1-pro-preview", "LOW", "LOW", "MEDIUM", "HIGH"),
        ("gemini-3-flash-preview", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
        ("gemini-3.1-flash-lite", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
        ("gemini-3.6-flash", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
        ("gemini-3.7-flash", "LOW", "LOW", "MEDIUM", "HIGH"),
        ("gemini-3.8-flash", "LOW", "LOW", "MEDIUM", "HIGH"),
        ("gemini-4-argon", "LOW", "LOW", "MEDIUM", "HIGH"),
        ("gemini-2.0-flash", None, None, None, None),
        ("house-model", None, None, None, None),
    ],
)
def test_each_effort_is_asked_for_in_the_models_own_way(
    model: str, none: object, low: object, medium: object, high: object
) -> None:
    asked = []
    for effort in ReasoningEffort:
        chat = ChatInput(messages=(user("x"),), reasoning_effort=effort)
        config = body_of(chat, model).get("generationConfig", {}).get("thinkingConfig", {})
        assert (bool(config) and effort is not ReasoningEffort.NONE) is config.get("includeThoughts", False)
        asked.append(config.get("thinkingBudget", config.get("thinkingLevel")))

    assert [none, low, medium, high] == asked


@pytest.mark.parametrize(
    ("model", "limit", "expected"),
    [
        ("gemini-2.5-flash", 10_000, 8192),
        ("gemini-2.5-flash", 4096, 3072),
        ("gemini-2.5-flash", 1025, 1),
        ("gemini-2.5-flash", 1024, 0),
        ("gemini-2.5-flash-lite", 1500, 0),
        ("gemini-2.5-pro", 1100, 128),
    ],
)
def test_thinking_budget_leaves_room_for_the_answer(model: str, limit: int, expected: int) -> None:
    chat = ChatInput(messages=(user("x"),), reasoning_effort=ReasoningEffort.MEDIUM)

    config = body_of(chat, model, max_output_tokens=limit)["generationConfig"]

    assert (expected, limit) == (config["thinkingConfig"]["thinkingBudget"], config["maxOutputTokens"])


def test_thinking_is_not_asked_of_a_model_that_cannot() -> None:
    call = call_of(ChatInput(messages=(user("x"),), reasoning_effort=ReasoningEffort.HIGH))
    call = replace(call, spec=replace(call.spec, capabilities=frozenset({Capability.TOOLS})))

    assert "generationConfig" not in GeminiWire().body(call, GOOGLE, stream=False)


def test_newer_models_get_no_sampling_parameters() -> None:
    chat = ChatInput(messages=(user("x"),), temperature=0.5, top_p=0.5, stop=("a",))

    assert {"stopSequences": ["a"]} == body_of(chat, "gemini-3.8-flash")["generationConfig"]


@pytest.mark.parametrize(
    ("seed", "expected"), [(7, 7), (-7, -7), (2**31, 0), (2**40 + 5, 5), (-(2**31) - 1, 2**31 - 1)]
)
def test_seed_fits_into_the_wires_number(seed: int, expected: int) -> None:
    assert expected == body_of(ChatInput(messages=(user("x"),), seed=seed))["generationConfig"]["seed"]


# Tools and JSON


def test_tool_without_parameters_has_none() -> None:
    body = body_of(ChatInput(messages=(user("x"),), tools=(Tool(name="f"),)))

    assert [{"functionDeclarations": [{"name": "f"}]}] == body["tools"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ToolChoiceMode.AUTO, {"mode": "AUTO"}),
        (ToolChoiceMode.NONE, {"mode": "NONE"}),
        (ToolChoiceMode.REQUIRED, {"mode": "ANY"}),
        (ToolChoiceMode.NAMED, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice_has_the_wires_words(mode: ToolChoiceMode, expected: dict[str, Any]) -> None:
    chat = ChatInput(messages=(user("x"),), tools=(Tool(name="f"),), tool_choice=ToolChoice(mode=mode, name="f"))

    assert expected == body_of(chat)["toolConfig"]["functionCallingConfig"]


def test_malformed_schema_is_refused_before_sending_and_says_which() -> None:
    error = refused(ChatInput(messages=(user("x"),), tools=(Tool(name="f", parameters_json_schema="{"),)))

    assert "tools[0].parameters_json_schema" in error.detail


@pytest.mark.parametrize(
    ("model", "tools", "fields", "instructed"),
    [
        ("gemini-2.5-flash", False, {"responseMimeType", "responseJsonSchema"}, False),
        ("gemini-2.5-flash", True, set(), True),
        ("gemini-3.8-flash", True, {"responseMimeType", "responseJsonSchema"}, False),
        ("gemini-1.5-pro", False, {"responseMimeType"}, True),
    ],
)
def test_schema_is_asked_for_by_fields_where_they_are_taken_else_by_words(
    model: str, fields: set[str], *, tools: bool, instructed: bool
) -> None:
    chat = ChatInput(
        messages=(user("x"),),
        tools=(Tool(name="f"),) if tools else (),
        response_format=JsonFormat(schema_json=SCHEMA_JSON),
    )
    body = body_of(chat, model)

    assert fields == set(body.get("generationConfig", {}))
    assert instructed is (SCHEMA_JSON in str(body.get("systemInstruction")))


def test_any_json_beside_tools_is_an_instruction_for_older_models() -> None:
    chat = ChatInput(messages=(user("x"),), tools=(Tool(name="f"),), response_format=JsonFormat())

    assert "JSON" in body_of(chat)["systemInstruction"]["parts"][-1]["text"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"contents": []}, "contents"),
        ({"systemInstruction": {}}, "systemInstruction"),
        ({"generation_config": {}}, "generation_config"),
        ({"generationConfig": {"maxOutputTokens": 5}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        ({"model": "x"}, "model"),
    ],
)
def test_options_must_not_set_what_is_the_sidecars(options: dict[str, object], told: str) -> None:
    error = refused(ChatInput(messages=(user("x"),), provider_options={"google": options}))

    assert error.detail.endswith(f"must not set {told}")
