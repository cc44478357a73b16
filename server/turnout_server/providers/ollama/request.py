"""Puts a chat request on the ollama wire.

What the wire has no field for is left out, because the caller cannot know which target is chosen: a choice of tools,
parallel calls, cache breakpoints. A tool that must be called is then the only one that is offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from turnout_server.core.chat import (
    ChatInput,
    Media,
    MediaKind,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoiceMode,
    ToolResult,
)
from turnout_server.core.model import Capability, ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.base64_text import Base64Text
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.json_text import caller_schema, result_text, tool_arguments
from turnout_server.providers.ollama.context import context_tokens
from turnout_server.providers.options import add_provider_options
from turnout_server.providers.wire import JsonObject

_ROLES = {Role.SYSTEM: "system", Role.USER: "user", Role.ASSISTANT: "assistant"}
_LEVELLED = "gpt-oss"
"""Models of this name think at a level; others think or do not."""


def request_body(call: UpstreamCall, *, stream: bool) -> JsonObject:
    """Returns the request as the wire wants it; UpstreamError INVALID_REQUEST for what it cannot carry."""
    chat, spec = call.chat, call.spec
    names: dict[str, str] = {}
    messages = [entry for message in chat.messages for entry in _entries(message, spec.target.provider, names)]
    body: JsonObject = {"model": spec.target.model, "messages": messages, "stream": stream}
    tools = _offered(chat)
    if tools:
        body["tools"] = [_tool(tool, i) for i, tool in tools]
    if chat.response_format is not None:
        schema = chat.response_format.schema_json
        body["format"] = caller_schema(schema, "response_format.schema_json") if schema else "json"
    if chat.reasoning_effort is not None and Capability.THINKING in spec.capabilities:
        body["think"] = _think(chat.reasoning_effort, spec.target.model)
    options = _options(call)
    # Without it the server takes a small window and drops the beginning of what does not fit, without a word.
    window = context_tokens(messages, body.get("tools"), chat, call.max_output_tokens, spec.context_window_tokens)
    if window is not None:
        options["num_ctx"] = window
    if options:
        body["options"] = options
    add_provider_options(body, chat, spec.target.provider)
    return body


def _options(call: UpstreamCall) -> JsonObject:
    chat = call.chat
    limit = call.max_output_tokens if call.max_output_tokens is not None else chat.max_output_tokens
    values: JsonObject = {
        "num_predict": limit,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "seed": chat.seed,
        "stop": list(chat.stop) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _offered(chat: ChatInput) -> list[tuple[int, Tool]]:
    tools = list(enumerate(chat.tools))
    choice = chat.tool_choice
    if choice is None:
        return tools
    if choice.mode is ToolChoiceMode.NONE:
        return []
    return [(i, tool) for i, tool in tools if choice.mode is not ToolChoiceMode.NAMED or tool.name == choice.name]


def _tool(tool: Tool, index: int) -> JsonObject:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = caller_schema(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    return {"type": "function", "function": function}


def _think(effort: ReasoningEffort, model: str) -> bool | str:
    if _LEVELLED in model.lower():
        # It cannot be told not to think.
        return "low" if effort is ReasoningEffort.NONE else effort.value.lower()
    return effort is not ReasoningEffort.NONE


def _entries(message: Message, provider: str, names: dict[str, str]) -> Iterator[JsonObject]:
    """Yields one entry for each tool result of a turn, and one for all the rest of it.

    `names` are those of the tools called so far, by the ids of the calls.
    """
    for part in message.parts:
        if isinstance(part.content, ToolResult):
            yield from _result(part.content, names)
        elif isinstance(part.content, ToolCall):
            names[part.content.id] = part.content.name
    rest = [part for part in message.parts if not isinstance(part.content, ToolResult)]
    if message.role is Role.TOOL or not rest:
        return
    entry: JsonObject = {
        "role": _ROLES[message.role],
        "content": "".join(part.content.text for part in rest if isinstance(part.content, Text)),
    }
    thoughts = "".join(
        part.content.text for part in rest if isinstance(part.content, Reasoning) and part.origin_provider == provider
    )
    if thoughts:
        entry["thinking"] = thoughts
    images = [_image(part.content) for part in rest if isinstance(part.content, Media)]
    if images:
        entry["images"] = images
    calls = [
        {
            "function": {
                "name": part.content.name,
                # The order of several calls is all that tells them apart where a server makes no ids.
                "arguments": tool_arguments(part.content.arguments_json),
            }
        }
        for part in rest
        if isinstance(part.content, ToolCall)
    ]
    if calls:
        entry["tool_calls"] = calls
    yield entry


def _result(result: ToolResult, names: Mapping[str, str]) -> Iterator[JsonObject]:
    entry: JsonObject = {"role": "tool", "content": result_text(_text(result.content), is_error=result.is_error)}
    # The wire has no ids for results: a name and their order are all that tells which call each one answers.
    name = result.name or names.get(result.tool_call_id)
    if name:
        entry["tool_name"] = name
    images = [_image(part.content) for part in result.content if isinstance(part.content, Media)]
    yield entry
    if images:
        # A tool's entry holds text only.
        yield {
            "role": "user",
            "content": f"Returned by the tool {name or result.tool_call_id}:",
            "images": images,
        }


def _text(parts: tuple[Part, ...]) -> str:
    return "\n".join(part.content.text for part in parts if isinstance(part.content, Text))


def _image(media: Media) -> Base64Text:
    if media.kind is not MediaKind.IMAGE:
        raise invalid_request(f"the ollama wire takes images, not {media.kind.value.lower()} parts")
    if media.data is None:
        raise invalid_request("the ollama wire takes images as bytes only, not by URL")
    return Base64Text(media.data)
