"""ChatInput to the core's chat request, with a field path for whatever no provider could take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from turnout_server.api import enums
from turnout_server.api.requests import Faults
from turnout_server.core.chat import (
    ChatInput,
    JsonFormat,
    Media,
    MediaKind,
    Message,
    Part,
    PartContent,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from turnout.v1 import router_pb2 as pb

MAX_STOP_COUNT = 16
MAX_TOOL_NAME_LENGTH = 64
MAX_WHOLE_DOUBLE = 2**53
MIN_TOP_P = 1e-6

RESERVED_OPTIONS = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "messages",
        "contents",
        "prompt",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "num_predict",
    }
)
"""Fields of request bodies that the sidecar itself decides on."""

_MEDIA: Mapping[str, MediaKind] = MappingProxyType(
    {"image": MediaKind.IMAGE, "audio": MediaKind.AUDIO, "document": MediaKind.DOCUMENT}
)
_ASSISTANT_ONLY = frozenset({"tool_call", "reasoning"})
_TOOL_RESULT_CONTENT = frozenset({"text", "image", "audio", "document"})


def chat_input(message: pb.ChatInput, faults: Faults, path: str = "input") -> ChatInput:
    """Reads a chat request. The caller of this function raises the faults."""
    if not message.messages:
        faults.add(f"{path}.messages", "is empty; give at least one message")
    has = message.HasField
    tools = tuple(_tool(tool, f"{path}.tools[{i}]", faults) for i, tool in enumerate(message.tools))
    return ChatInput(
        messages=tuple(_message(m, f"{path}.messages[{i}]", faults) for i, m in enumerate(message.messages)),
        tools=_unique(tools, f"{path}.tools", faults),
        tool_choice=_tool_choice(message.tool_choice, tools, f"{path}.tool_choice", faults)
        if has("tool_choice")
        else None,
        parallel_tool_calls=message.parallel_tool_calls if has("parallel_tool_calls") else None,
        response_format=_format(message.response_format, f"{path}.response_format", faults),
        temperature=faults.number(message.temperature, f"{path}.temperature", 0, 2) if has("temperature") else None,
        top_p=faults.number(message.top_p, f"{path}.top_p", MIN_TOP_P, 1) if has("top_p") else None,
        max_output_tokens=faults.whole(message.max_output_tokens, f"{path}.max_output_tokens", 1)
        if has("max_output_tokens")
        else None,
        stop=_stop(message.stop, f"{path}.stop", faults),
        seed=message.seed if has("seed") else None,
        reasoning_effort=faults.choice(
            enums.REASONING_EFFORT.to_core, message.reasoning_effort, f"{path}.reasoning_effort"
        ),
        provider_options={
            provider: _options(options, f"{path}.provider_options[{provider}]", faults)
            for provider, options in message.provider_options.items()
        },
    )


def _message(message: pb.Message, path: str, faults: Faults) -> Message:
    role = faults.choice(enums.ROLE.to_core, message.role, f"{path}.role")
    if not message.role:
        faults.add(f"{path}.role", "is missing; say who speaks")
    if not message.parts:
        faults.add(f"{path}.parts", "is empty; give at least one part")
    role = role or Role.USER
    parts = tuple(_part(part, f"{path}.parts[{i}]", faults) for i, part in enumerate(message.parts))
    for i, part in enumerate(message.parts):
        kind = part.WhichOneof("content")
        if kind in _ASSISTANT_ONLY and role is not Role.ASSISTANT:
            faults.add(f"{path}.parts[{i}].{kind}", f"stands in a {role} message; only ASSISTANT messages have it")
        if kind == "tool_result" and role not in (Role.TOOL, Role.USER):
            faults.add(f"{path}.parts[{i}].{kind}", f"stands in a {role} message; use role TOOL")
    return Message(role=role, parts=parts)


def _part(message: pb.Part, path: str, faults: Faults) -> Part:
    return Part(
        content=_content(message, path, faults),
        signature=message.signature,
        origin_provider=message.origin_provider,
        cache_breakpoint=message.cache_breakpoint,
    )


def _content(message: pb.Part, path: str, faults: Faults) -> PartContent:
    kind = message.WhichOneof("content")
    match kind:
        case "text":
            return Text(text=message.text)
        case "image" | "audio" | "document":
            return _media(getattr(message, kind), _MEDIA[kind], f"{path}.{kind}", faults)
        case "tool_call":
            return _tool_call(message.tool_call, f"{path}.tool_call", faults)
        case "tool_result":
            return _tool_result(message.tool_result, f"{path}.tool_result", faults)
        case "reasoning":
            return Reasoning(text=message.reasoning.text, redacted_data=message.reasoning.redacted_data or None)
        case _:
            faults.add(path, "has no content; give text, an image or another kind")
            return Text(text="")


def _media(message: pb.Image | pb.Audio | pb.Document, kind: MediaKind, path: str, faults: Faults) -> Media:
    match message.WhichOneof("source"):
        case "data":
            if not message.data:
                faults.add(f"{path}.data", "is empty; give the bytes or a URL")
            if not message.media_type:
                faults.add(f"{path}.media_type", 'is missing; bytes need one, such as "image/png"')
            return Media(kind=kind, media_type=message.media_type, data=message.data)
        case "url":
            if not message.url.startswith("https://"):
                faults.add(f"{path}.url", "is not an https URL; give one, or the bytes")
            return Media(kind=kind, media_type=message.media_type, url=message.url)
        case _:
            faults.add(path, "has no source; give data or url")
            return Media(kind=kind, media_type=message.media_type)


def _tool_call(message: pb.ToolCall, path: str, faults: Faults) -> ToolCall:
    for field in ("id", "name"):
        if not getattr(message, field):
            faults.add(f"{path}.{field}", "is missing")
    return ToolCall(id=message.id, name=message.name, arguments_json=message.arguments_json)


def _tool_result(message: pb.ToolResult, path: str, faults: Faults) -> ToolResult:
    if not message.tool_call_id:
        faults.add(f"{path}.tool_call_id", "is missing; name the call that it answers")
    content = []
    for i, part in enumerate(message.content):
        kind = part.WhichOneof("content")
        # Checked before reading on: results within results could nest without end.
        if kind in _TOOL_RESULT_CONTENT:
            content.append(_part(part, f"{path}.content[{i}]", faults))
        else:
            faults.add(f"{path}.content[{i}]", "is neither text nor an image, a sound or a document")
    return ToolResult(
        tool_call_id=message.tool_call_id, name=message.name, content=tuple(content), is_error=message.is_error
    )


def _tool(message: pb.Tool, path: str, faults: Faults) -> Tool:
    if not message.name:
        faults.add(f"{path}.name", "is missing")
    faults.text(message.name, f"{path}.name", MAX_TOOL_NAME_LENGTH)
    if message.parameters_json_schema:
        _check_json_object(message.parameters_json_schema, f"{path}.parameters_json_schema", faults)
    return Tool(
        name=message.name,
        description=message.description,
        parameters_json_schema=message.parameters_json_schema,
    )


def _unique(tools: tuple[Tool, ...], path: str, faults: Faults) -> tuple[Tool, ...]:
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.name in seen:
            faults.add(f"{path}[{i}].name", f'is "{tool.name[:MAX_TOOL_NAME_LENGTH]}" a second time; names are unique')
        seen.add(tool.name)
    return tools


def _tool_choice(message: pb.ToolChoice, tools: tuple[Tool, ...], path: str, faults: Faults) -> ToolChoice:
    mode = faults.choice(enums.TOOL_CHOICE_MODE.to_core, message.mode, f"{path}.mode") or ToolChoiceMode.AUTO
    if mode is ToolChoiceMode.NAMED and message.name not in {tool.name for tool in tools}:
        faults.add(f"{path}.name", "is not the name of one of the tools")
    if mode is not ToolChoiceMode.NAMED and message.name:
        faults.add(f"{path}.name", "is given without mode NAMED")
    if mode is ToolChoiceMode.REQUIRED and not tools:
        faults.add(f"{path}.mode", "is REQUIRED, but there are no tools")
    return ToolChoice(mode=mode, name=message.name)


def _format(message: pb.ResponseFormat, path: str, faults: Faults) -> JsonFormat | None:
    match message.WhichOneof("format"):
        case "json_object":
            return JsonFormat()
        case "json_schema":
            schema = message.json_schema
            _check_json_object(schema.schema_json, f"{path}.json_schema.schema_json", faults)
            return JsonFormat(
                name=faults.text(schema.name, f"{path}.json_schema.name", MAX_TOOL_NAME_LENGTH) or "answer",
                schema_json=schema.schema_json,
                strict=schema.strict if schema.HasField("strict") else True,
            )
        case _:
            return None


def _check_json_object(text: str, path: str, faults: Faults) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # The parser's own message may quote what must not leave here.
        faults.add(path, "is not JSON; give a JSON schema as text")
        return
    if not isinstance(value, dict):
        faults.add(path, "is not a JSON object; give a JSON schema as text")


def _stop(values: Iterable[str], path: str, faults: Faults) -> tuple[str, ...]:
    stop = tuple(values)
    if len(stop) > MAX_STOP_COUNT:
        faults.add(path, f"has {len(stop)} entries; at most {MAX_STOP_COUNT} are taken")
    for i, text in enumerate(stop):
        if not text:
            faults.add(f"{path}[{i}]", "is empty; leave it out")
    return stop


def _options(message: Struct, path: str, faults: Faults) -> Mapping[str, object]:
    for name in message.fields:
        if name in RESERVED_OPTIONS:
            faults.add(f"{path}.{name}", "is the sidecar's to decide; use the request's own fields")
    try:
        return {name: _whole(value) for name, value in MessageToDict(message).items()}
    except ValueError:
        faults.add(path, "holds a number that JSON cannot write; leave out NaN and infinity")
        return {}


def _whole(value: object) -> object:
    # A Struct knows doubles only, and providers refuse 5.0 where they want 5.
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_WHOLE_DOUBLE:
            return int(value)
        case dict():
            return {name: _whole(inner) for name, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case _:
            return value
