"""Puts a chat request on the openai wire."""

from __future__ import annotations

from turnout_server.core.chat import ChatInput, JsonFormat, Tool, ToolChoice, ToolChoiceMode
from turnout_server.core.model import ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.json_text import caller_schema, closed_objects, wire_name
from turnout_server.providers.openai.messages import Addressee, Messages
from turnout_server.providers.openai.models import EffortForm, ForcedTools, ModelFacts
from turnout_server.providers.openai.reasoning import maker_of
from turnout_server.providers.openai.vendor_models import model_facts
from turnout_server.providers.options import add_provider_options
from turnout_server.providers.wire import JsonObject

_INSTRUCTION = "Answer with one JSON object and nothing else: no explanation, no code fence."
_FORCED = frozenset({ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED})


def request_body(call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:
    """Returns the request as the vendor wants it; UpstreamError INVALID_REQUEST for what it cannot carry."""
    chat, spec = call.chat, call.spec
    facts = model_facts(spec, dialect)
    addressee = Addressee(spec.target.provider, dialect, facts, maker_of(spec.target.model, dialect))
    messages = Messages(chat, addressee).wire
    body: JsonObject = {"model": spec.target.model, "messages": messages}
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if dialect.asks_for_cost:
        body["usage"] = {"include": True}
    limit = call.max_output_tokens if call.max_output_tokens is not None else chat.max_output_tokens
    if limit is not None:
        body[dialect.max_tokens_field] = limit
    body.update(facts.always)
    _add_sampling(body, chat, dialect)
    if chat.reasoning_effort is not None:
        _add_effort(body, chat.reasoning_effort, facts)
    refused = dialect.refuses | facts.refuses
    if chat.tools and not ("tool_choice" in refused and _calls_none(chat)):
        _add_tools(body, chat, dialect, facts)
    if chat.response_format is not None:
        if "response_format" in refused:
            _ask_for_json(messages)
        else:
            body["response_format"] = _response_format(chat.response_format, dialect)
    for field in refused:
        body.pop(field, None)
    add_provider_options(body, chat, spec.target.provider)
    return body


def _add_sampling(body: JsonObject, chat: ChatInput, dialect: Dialect) -> None:
    if chat.seed is not None:
        body[dialect.seed_field] = chat.seed
    if chat.temperature is not None:
        body["temperature"] = chat.temperature
    if chat.top_p is not None:
        body["top_p"] = chat.top_p
    if chat.stop:
        body["stop"] = list(chat.stop)


def _add_effort(body: JsonObject, effort: ReasoningEffort, facts: ModelFacts) -> None:
    word = facts.efforts.get(effort)
    if word is None:
        return
    match facts.effort_form:
        case EffortForm.FIELD:
            body["reasoning_effort"] = word
        case EffortForm.OBJECT:
            body["reasoning"] = {"effort": word}
        case EffortForm.SWITCH:
            body["thinking"] = {"type": word}


def _add_tools(body: JsonObject, chat: ChatInput, dialect: Dialect, facts: ModelFacts) -> None:
    tools, choice = chat.tools, chat.tool_choice
    if choice is not None and choice.mode in _FORCED and facts.forced_tools is not ForcedTools.ANY:
        match facts.forced_tools:
            case ForcedTools.ONE_OF_ALL if choice.mode is ToolChoiceMode.NAMED:
                # Some tool of one is that one.
                tools = tuple(tool for tool in tools if tool.name == choice.name)
                choice = ToolChoice(mode=ToolChoiceMode.REQUIRED)
            case ForcedTools.UNTHINKING:
                body["thinking"] = {"type": "disabled"}
            case ForcedTools.NEVER:
                choice = ToolChoice(mode=ToolChoiceMode.AUTO)
            case _:
                pass
    body["tools"] = [_tool(tool, i) for i, tool in enumerate(tools)]
    if choice is not None:
        body["tool_choice"] = _tool_choice(choice, dialect)
    if chat.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = chat.parallel_tool_calls


def _tool(tool: Tool, index: int) -> JsonObject:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = caller_schema(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice, dialect: Dialect) -> object:
    match choice.mode:
        case ToolChoiceMode.NAMED:
            return {"type": "function", "function": {"name": choice.name}}
        case ToolChoiceMode.REQUIRED:
            return dialect.required_tool_word
        case mode:
            return mode.value.lower()


def _calls_none(chat: ChatInput) -> bool:
    """Whether no tool may be called: where that cannot be said, none is offered."""
    return chat.tool_choice is not None and chat.tool_choice.mode is ToolChoiceMode.NONE


def _ask_for_json(messages: list[JsonObject]) -> None:
    """Adds to the system turn, in place, what a model that has no field for it must be told in words."""
    first = messages[0] if messages else {}
    content = first.get("content")
    if first.get("role") == "system" and isinstance(content, str):
        first["content"] = f"{content}\n\n{_INSTRUCTION}"
    else:
        messages.insert(0, {"role": "system", "content": _INSTRUCTION})


def _response_format(wanted: JsonFormat, dialect: Dialect) -> JsonObject:
    if not wanted.schema_json:
        return {"type": "json_object"}
    schema: object = caller_schema(wanted.schema_json, "response_format.schema_json")
    if wanted.strict and dialect.closes_objects:
        schema = closed_objects(schema)
    return {
        "type": "json_schema",
        "json_schema": {"name": wire_name(wanted.name or "answer"), "schema": schema, "strict": wanted.strict},
    }
