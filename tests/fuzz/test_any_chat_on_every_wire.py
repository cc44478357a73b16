"""Any chat request is refused with the paths of its faults, or becomes a request of each vendor that JSON can carry."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import filled
from tests.wire.every_speaker import SPEAKERS
from tests.wire.speakers import as_read, spec_of
from turnout.v1 import router_pb2 as pb
from turnout_server.api.chat_requests import chat_input
from turnout_server.api.faults import MAX_FAULTS, Faults
from turnout_server.api.requests import route_query
from turnout_server.core.chat import ChatInput
from turnout_server.core.demands import agreed_input, demanded_profile
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.model import FailureKind
from turnout_server.core.reserved_options import RESERVED_OPTIONS
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.upstream import wire_of

EACH = max(1, settings().max_examples // 4)
"""There are a dozen vendors."""

words = st.text(max_size=12) | st.sampled_from(
    ["", " ", "find", "{}", '{"a": 1}', "[1", "null", "🌍", "\x00", "a" * 64]
)
schemas = st.sampled_from(
    ["", "{}", '{"type": "object", "properties": {"q": {"type": "string"}}}', '{"a": 1e999}', "{"]
)


def media(kind: type[pb.Image | pb.Audio | pb.Document], media_type: str) -> st.SearchStrategy[object]:
    types = st.sampled_from([media_type, "application/octet-stream", "text/plain", "x/y"])
    urls = st.sampled_from(["https://a.example/b.png", "https://a.example/é?x=1"])
    return st.builds(kind, data=st.binary(min_size=1, max_size=6), media_type=types) | st.builds(kind, url=urls)


images = media(pb.Image, "image/png")
texts = st.builds(pb.Part, text=words, cache_breakpoint=st.booleans())
heard = st.builds(pb.Part, image=images) | st.builds(pb.Part, audio=media(pb.Audio, "audio/wav"))
shown = heard | st.builds(pb.Part, document=media(pb.Document, "application/pdf"))
origins = st.sampled_from(["", "google", "anthropic", "openai", "kimi", "minimax", "openrouter", "mistral"])
signatures = words | st.sampled_from(["c2ln", '[{"type": "reasoning.text"}]', "reasoning_content", "thinking"])
calls = st.builds(pb.ToolCall, id=words, name=words, arguments_json=words)
results = st.builds(
    pb.ToolResult, tool_call_id=words, name=words, content=st.lists(texts | shown, max_size=2), is_error=st.booleans()
)
thoughts = st.builds(pb.Reasoning, text=words, redacted_data=st.binary(max_size=4))
said = st.builds(pb.Part, tool_call=calls, signature=signatures, origin_provider=origins) | st.builds(
    pb.Part, reasoning=thoughts, signature=signatures, origin_provider=origins
)
returned = st.builds(pb.Part, tool_result=results)
turns = st.one_of(
    st.builds(pb.Message, role=st.just(pb.ROLE_SYSTEM), parts=st.lists(texts, min_size=1, max_size=2)),
    st.builds(pb.Message, role=st.just(pb.ROLE_USER), parts=st.lists(texts | shown | returned, min_size=1, max_size=3)),
    st.builds(pb.Message, role=st.just(pb.ROLE_ASSISTANT), parts=st.lists(texts | said, min_size=1, max_size=3)),
    st.builds(pb.Message, role=st.just(pb.ROLE_TOOL), parts=st.lists(returned, min_size=1, max_size=2)),
)
tools = st.builds(pb.Tool, name=words, description=words, parameters_json_schema=schemas)
choices = st.builds(pb.ToolChoice, mode=st.sampled_from([0, 1, 2, 3]))
formats = st.builds(pb.ResponseFormat, json_object=st.builds(pb.JsonObject)) | st.builds(
    pb.ResponseFormat, json_schema=st.builds(pb.JsonSchema, name=words, schema_json=schemas, strict=st.booleans())
)
chats = st.builds(
    pb.ChatInput,
    messages=st.lists(turns, min_size=1, max_size=4),
    tools=st.lists(tools, max_size=2),
    tool_choice=st.none() | choices,
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | formats,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.01, 1),
    max_output_tokens=st.none() | st.integers(1, 2**31 - 1),
    stop=st.lists(words, max_size=3),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    reasoning_effort=st.sampled_from([0, 1, 2, 3, 4]),
)


def read(message: pb.ChatInput) -> ChatInput | None:
    faults = Faults()
    chat = chat_input(message, faults)
    return None if faults.violations else chat


@pytest.mark.parametrize("name", SPEAKERS)
@settings(max_examples=EACH)
@given(message=chats, streaming=st.booleans())
def test_chat_without_faults_becomes_a_request_or_is_refused_as_one(
    name: str,
    message: pb.ChatInput,
    streaming: bool,  # noqa: FBT001 - drawn
) -> None:
    chat = read(message)
    if chat is None:
        return
    speaker = SPEAKERS[name]()
    spec = spec_of(speaker, "https://vendor.example/v1")
    call = UpstreamCall(spec=spec, credential="main", chat=chat, max_output_tokens=chat.max_output_tokens)
    wire, dialect = wire_of(speaker.wire), dialect_of(speaker.provider, speaker.wire)
    try:
        body = as_read(wire.body(call, dialect, stream=streaming))
    except UpstreamError as error:
        assert FailureKind.INVALID_REQUEST is error.kind
        assert not error.possibly_billed
    else:
        assert isinstance(body, dict)
        assert wire.url(call, stream=streaming).startswith("https://vendor.example/v1/")


@given(message=chats)
def test_chat_without_faults_makes_a_profile_that_agrees_with_it(message: pb.ChatInput) -> None:
    chat = read(message)
    if chat is None:
        return
    query = route_query(pb.ExecuteRequest(), faults=Faults(), executing=True)
    profile = demanded_profile(query.profile, chat, streaming=True)

    assert profile.input_bytes is None or profile.input_bytes >= 0
    assert profile.extra_input_tokens >= 0
    assert agreed_input(chat, profile).messages == chat.messages


@given(seed=st.integers(0, 2**32))
def test_any_message_of_the_type_is_read_or_refused_with_paths(seed: int) -> None:
    request = pb.ExecuteRequest()
    filled(request, random.Random(seed))
    faults = Faults()
    query = route_query(request, faults=faults, executing=True)
    chat = chat_input(request.input, faults)
    try:
        faults.raise_any()
    except InvalidRequestError as error:
        assert 0 < len(error.violations) <= MAX_FAULTS
        assert all(violation.field and violation.description for violation in error.violations)
    else:
        assert chat.messages
        assert query.caller.tenant == request.caller.tenant


structs = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(options=st.dictionaries(st.text(max_size=6) | st.sampled_from(sorted(RESERVED_OPTIONS)), structs, max_size=4))
def test_options_arrive_with_whole_numbers_as_integers_unless_they_are_reserved(options: dict[str, Any]) -> None:
    message = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="x")])])
    message.provider_options["openai"].update(options)
    chat = read(message)

    if RESERVED_OPTIONS.intersection(options):
        assert chat is None
    else:
        assert chat is not None
        assert MessageToDict(message.provider_options["openai"]) == chat.provider_options["openai"]
