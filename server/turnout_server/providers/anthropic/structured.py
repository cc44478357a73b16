"""Asks for JSON on the anthropic wire: by the API's own structured outputs where the model has them, else by a tool
that the model must call and whose input is the answer, else by an instruction.
"""

from __future__ import annotations

from enum import Enum, auto

from turnout_server.core.chat import ChatInput
from turnout_server.core.model import ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.anthropic.models import ModelFacts, facts_of
from turnout_server.providers.json_text import caller_schema, closed_objects
from turnout_server.providers.wire import JsonObject

ANSWER_TOOL = "turnout_json_answer"
"""Name of the tool whose input is taken for the answer's text."""

_ANY_OBJECT: JsonObject = {"type": "object", "additionalProperties": True}
_INSTRUCTION = "Answer with one JSON object and nothing else: no explanation, no code fence."


class JsonForm(Enum):
    """How JSON is asked for."""

    NONE = auto()
    NATIVE = auto()
    TOOL = auto()
    INSTRUCTION = auto()


def json_form(chat: ChatInput, facts: ModelFacts) -> JsonForm:
    """Returns how this request asks this model for JSON."""
    wanted = chat.response_format
    if wanted is None:
        return JsonForm.NONE
    if wanted.schema_json and facts.schema:
        return JsonForm.NATIVE
    thinks = facts.thinks_by_default or chat.reasoning_effort not in {None, ReasoningEffort.NONE}
    return JsonForm.INSTRUCTION if chat.tools or thinks else JsonForm.TOOL


def answers_by_tool(call: UpstreamCall) -> bool:
    """Whether the answer to this call comes as the input of `ANSWER_TOOL`."""
    if call.chat.response_format is None:
        return False
    return json_form(call.chat, facts_of(call.spec.target.model)) is JsonForm.TOOL


def add_json_format(body: JsonObject, chat: ChatInput, facts: ModelFacts) -> str:
    """Sets what the form needs in place; returns an instruction to add to the system prompt, "" for none."""
    wanted, form = chat.response_format, json_form(chat, facts)
    if wanted is None:
        return ""
    schema = caller_schema(wanted.schema_json, "response_format.schema_json") if wanted.schema_json else _ANY_OBJECT
    if form is JsonForm.NATIVE:
        given = body.get("output_config")
        closed = {"type": "json_schema", "schema": closed_objects(schema)}
        body["output_config"] = {**given, "format": closed} if isinstance(given, dict) else {"format": closed}
        return ""
    if form is JsonForm.TOOL:
        body["tools"] = [{"name": ANSWER_TOOL, "description": "Gives the answer to the user.", "input_schema": schema}]
        body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
        return ""
    return f"{_INSTRUCTION} It must fit this JSON schema: {wanted.schema_json}" if wanted.schema_json else _INSTRUCTION
