"""Puts a chat request on the gemini wire."""

from __future__ import annotations

from turnout_server.core.chat import ChatInput, Tool, ToolChoice, ToolChoiceMode
from turnout_server.ports import UpstreamCall
from turnout_server.providers.gemini.contents import Contents
from turnout_server.providers.gemini.models import ModelFacts, facts_of
from turnout_server.providers.gemini.thinking import thinking_config
from turnout_server.providers.json_text import caller_schema, without_const
from turnout_server.providers.options import add_provider_options
from turnout_server.providers.wire import JsonObject

_MODES = {ToolChoiceMode.AUTO: "AUTO", ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "ANY"}
_SEEDS = 2**31
"""The wire's seed is a number of 32 bits with a sign."""
_INSTRUCTION = "Answer with one JSON value and nothing else: no explanation, no code fence."


def request_body(call: UpstreamCall) -> JsonObject:
    """Returns the request as the wire wants it; UpstreamError INVALID_REQUEST for what it cannot carry.

    What the wire has no field for is left out: `parallel_tool_calls` and cache breakpoints; it caches by itself.
    """
    chat, provider = call.chat, call.spec.target.provider
    facts = facts_of(call.spec.target.model)
    contents = Contents(chat, provider, facts)
    body: JsonObject = {"contents": contents.turns}
    config = _generation_config(call, facts)
    instruction = _add_json_format(config, chat, facts)
    if instruction:
        contents.system.append({"text": instruction})
    if contents.system:
        body["systemInstruction"] = {"parts": contents.system}
    if chat.tools:
        body["tools"] = [{"functionDeclarations": [_tool(tool, i) for i, tool in enumerate(chat.tools)]}]
        if chat.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(chat.tool_choice)}
    if config:
        body["generationConfig"] = config
    add_provider_options(body, chat, provider)
    return body


def _generation_config(call: UpstreamCall, facts: ModelFacts) -> JsonObject:
    chat = call.chat
    config: JsonObject = {}
    max_tokens = call.max_output_tokens if call.max_output_tokens is not None else chat.max_output_tokens
    if max_tokens is not None:
        config["maxOutputTokens"] = max_tokens
    if facts.sampling:
        if chat.temperature is not None:
            config["temperature"] = chat.temperature
        if chat.top_p is not None:
            config["topP"] = chat.top_p
    if chat.stop:
        config["stopSequences"] = list(chat.stop)
    if chat.seed is not None:
        config["seed"] = chat.seed if -_SEEDS <= chat.seed < _SEEDS else chat.seed % _SEEDS
    thinking = thinking_config(call, facts, max_tokens)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    return config


def _add_json_format(config: JsonObject, chat: ChatInput, facts: ModelFacts) -> str:
    """Sets what the format needs in place; returns an instruction to add to the system turn, "" for none."""
    wanted = chat.response_format
    if wanted is None:
        return ""
    by_words = bool(chat.tools) and not facts.json_with_tools
    if not by_words:
        config["responseMimeType"] = "application/json"
    if not wanted.schema_json:
        return _INSTRUCTION if by_words else ""
    schema = caller_schema(wanted.schema_json, "response_format.schema_json")
    if by_words or not facts.schema:
        return f"{_INSTRUCTION} It must fit this JSON schema: {wanted.schema_json}"
    config["responseJsonSchema"] = without_const(schema)
    return ""


def _tool(tool: Tool, index: int) -> JsonObject:
    declaration: JsonObject = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.parameters_json_schema:
        declaration["parametersJsonSchema"] = caller_schema(
            tool.parameters_json_schema, f"tools[{index}].parameters_json_schema"
        )
    return declaration


def _tool_choice(choice: ToolChoice) -> JsonObject:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": _MODES[choice.mode]}
