"""ChatInput to the core's chat request, with a field path for whatever no provider could take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from turnout_server.api import enums
from turnout_server.api.chat_parts import messages, reading
from turnout_server.api.faults import MAX_NAME_LENGTH, MAX_WORD_LENGTH, Faults
from turnout_server.core.chat import ChatInput, JsonFormat, Message, Tool, ToolChoice, ToolChoiceMode
from turnout_server.core.reserved_options import reserved_options

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from turnout.v1 import router_pb2 as pb

MAX_STOP_COUNT = 16
MAX_STOP_LENGTH = 1024
MAX_TOOL_COUNT = 1024
MAX_TOOL_NAME_LENGTH = 64
MAX_SCHEMA_BYTES = 1024 * 1024
MAX_ALL_SCHEMAS_CHARACTERS = 8 * 1024 * 1024
"""Of all tools together: parsing them takes time that other calls wait for, 5 ms for a million characters."""
MAX_OPTIONS_COUNT = 64
MAX_WHOLE_DOUBLE = 2**53
MIN_TOP_P = 1e-6


async def chat_input_in_turns(message: pb.ChatInput, faults: Faults, path: str = "input") -> ChatInput:
    """Reads a chat request as `chat_input` does, with pauses in which other calls have their turn."""
    turns: list[Message] = []
    for _ in reading(message.messages, f"{path}.messages", faults, turns):
        await asyncio.sleep(0)
    return chat_input(message, faults, path, turns=tuple(turns))


def chat_input(
    message: pb.ChatInput, faults: Faults, path: str = "input", *, turns: tuple[Message, ...] | None = None
) -> ChatInput:
    """Reads a chat request; `turns` are its messages where they have been read. The caller of this function raises the
    faults.
    """
    has = message.HasField
    tools = _tools(message.tools, f"{path}.tools", faults)
    return ChatInput(
        messages=messages(message.messages, f"{path}.messages", faults) if turns is None else turns,
        tools=tools,
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
        provider_options=_provider_options(message.provider_options, f"{path}.provider_options", faults)
        if message.provider_options
        else {},
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


def _tools(values: Sequence[pb.Tool], path: str, faults: Faults) -> tuple[Tool, ...]:
    if not faults.count(values, path, MAX_TOOL_COUNT):
        return ()
    size = sum(len(tool.parameters_json_schema) for tool in values)
    if size > MAX_ALL_SCHEMAS_CHARACTERS:
        faults.add(path, f"have schemas of {size} characters together; at most {MAX_ALL_SCHEMAS_CHARACTERS} are taken")
        return ()
    tools = tuple(_tool(tool, f"{path}[{i}]", faults) for i, tool in enumerate(values))
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
    faults.text(message.name, f"{path}.name", MAX_TOOL_NAME_LENGTH)
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
    size = len(text.encode())
    if size > MAX_SCHEMA_BYTES:
        faults.add(path, f"has {size} bytes; at most {MAX_SCHEMA_BYTES} are taken")
        return
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The parser's own message may quote what must not leave here.
        faults.add(path, "is not JSON; give a JSON schema as text")
        return
    if not isinstance(value, dict):
        faults.add(path, "is not a JSON object; give a JSON schema as text")


def _no_constant(_: str) -> None:
    # The parser knows NaN and infinity; JSON does not.
    raise ValueError


def _stop(values: Sequence[str], path: str, faults: Faults) -> tuple[str, ...]:
    if not faults.count(values, path, MAX_STOP_COUNT):
        return ()
    for i, text in enumerate(values):
        if not faults.text(text, f"{path}[{i}]", MAX_STOP_LENGTH):
            faults.add(f"{path}[{i}]", "is empty; leave it out")
    return tuple(values)


def _provider_options(values: Mapping[str, Struct], path: str, faults: Faults) -> dict[str, Mapping[str, object]]:
    if not faults.count(values, path, MAX_OPTIONS_COUNT):
        return {}
    return {
        faults.text(provider, path, MAX_NAME_LENGTH): _options(options, f"{path}[{provider[:MAX_WORD_LENGTH]}]", faults)
        for provider, options in values.items()
    }


def _options(message: Struct, path: str, faults: Faults) -> Mapping[str, object]:
    try:
        options = {name: _whole(value) for name, value in MessageToDict(message).items()}
    except ValueError:
        faults.add(path, "holds a number that JSON cannot write; leave out NaN and infinity")
        return {}
    for name in reserved_options(options):
        faults.add(f"{path}.{name}", "is the sidecar's to decide; use the request's own fields")
    return options


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
