"""Forms of requests beyond single capabilities: what a chat needs, read from its tools and its schema."""

import json
from typing import Any

import pytest

from turnout_server.core.chat import ChatInput, JsonFormat, Message, Part, Role, Text, Tool, ToolChoice, ToolChoiceMode
from turnout_server.core.forms import NO_FORMS, Form, keyword_forms, needed_forms, schema_forms
from turnout_server.core.model import ReasoningEffort

TURNS = (Message(role=Role.USER, parts=(Part(content=Text(text="Where?")),)),)
TOOLS = (Tool(name="look"),)
HIGH, NONE = ReasoningEffort.HIGH, ReasoningEffort.NONE
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
}


def chat(**facts: Any) -> ChatInput:
    return ChatInput(messages=TURNS, **facts)


def wanted(schema: object = CLOSED, **facts: Any) -> JsonFormat:
    return JsonFormat(schema_json=json.dumps(schema), **facts)


def forced(mode: ToolChoiceMode) -> ChatInput:
    return chat(tools=TOOLS, tool_choice=ToolChoice(mode=mode, name="look" if mode is ToolChoiceMode.NAMED else ""))


@pytest.mark.parametrize(
    ("request_", "effort", "expected"),
    [
        (chat(), HIGH, set()),
        (chat(tools=TOOLS), HIGH, set()),
        (chat(tools=TOOLS, parallel_tool_calls=True), None, set()),
        (chat(tools=TOOLS, parallel_tool_calls=False), None, {Form.SERIAL_TOOLS}),
        (forced(ToolChoiceMode.AUTO), HIGH, set()),
        (forced(ToolChoiceMode.NONE), HIGH, set()),
        (forced(ToolChoiceMode.REQUIRED), None, {Form.FORCED_TOOLS}),
        (forced(ToolChoiceMode.REQUIRED), NONE, {Form.FORCED_TOOLS}),
        (forced(ToolChoiceMode.REQUIRED), HIGH, {Form.FORCED_TOOLS, Form.FORCED_TOOLS_THINKING}),
        (forced(ToolChoiceMode.NAMED), HIGH, {Form.NAMED_TOOL, Form.FORCED_TOOLS_THINKING}),
        (chat(response_format=JsonFormat()), HIGH, set()),
        (chat(response_format=wanted()), None, set()),
        (chat(response_format=wanted(), tools=TOOLS), NONE, {Form.SCHEMA_WITH_TOOLS}),
        (chat(response_format=wanted(), tools=TOOLS), HIGH, {Form.SCHEMA_WITH_TOOLS, Form.SCHEMA_WITH_THINKING}),
        (chat(response_format=wanted({"not": {}}, strict=False)), None, set()),
    ],
)
def test_forms_are_read_from_the_request(request_: ChatInput, effort: ReasoningEffort, expected: set[Form]) -> None:
    assert expected == needed_forms(request_, effort)


def test_nothing_is_made_for_requests_without_tools_and_schema() -> None:
    assert NO_FORMS is needed_forms(chat(), HIGH)


def test_who_must_call_no_tool_need_not_call_one_at_a_time() -> None:
    choice = ToolChoice(mode=ToolChoiceMode.NONE)

    assert set() == needed_forms(chat(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False), None)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (CLOSED, set()),
        (CLOSED | {"required": []}, {Form.OPTIONAL_PROPERTIES}),
        ({"type": "object", "properties": {"x": {}}}, {Form.OPTIONAL_PROPERTIES}),
        (CLOSED | {"additionalProperties": True}, {Form.OPEN_OBJECTS}),
        (CLOSED | {"additionalProperties": {"type": "string"}}, {Form.OPEN_OBJECTS}),
        ({"type": "array", "items": CLOSED}, {Form.OTHER_ROOT}),
        ({"anyOf": [CLOSED]}, {Form.OTHER_ROOT} | keyword_forms({"anyOf"})),
        (CLOSED | {"properties": {"x": {"type": "string", "pattern": "a"}}}, keyword_forms({"pattern"})),
        (CLOSED | {"properties": {"x": {"type": "array", "items": {"minimum": 1}}}}, keyword_forms({"minimum"})),
        # Properties may have the names of keywords, and values may look like schemas.
        (CLOSED | {"properties": {"not": {"type": "string"}}, "required": ["not"]}, set()),
        (CLOSED | {"properties": {"x": {"const": {"pattern": "a"}}}}, keyword_forms({"const"})),
        (CLOSED | {"$defs": {"d": {"type": "string", "maxLength": 1}}}, keyword_forms({"maxLength"})),
        (CLOSED | {"$defs": {"d": CLOSED}, "properties": {"x": {"$ref": "#/$defs/d"}}}, set()),
        (CLOSED | {"properties": {"x": {"$ref": "#"}}}, {Form.RECURSION}),
        (
            CLOSED
            | {
                "$defs": {
                    "a": CLOSED | {"properties": {"x": {"$ref": "#/$defs/b"}}},
                    "b": CLOSED | {"properties": {"x": {"$ref": "#/$defs/a"}}},
                }
            },
            {Form.RECURSION},
        ),
    ],
)
def test_forms_are_read_from_the_schema(schema: object, expected: set[str]) -> None:
    assert expected == schema_forms(json.dumps(schema))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"properties": 3, "required": {}, "anyOf": 1}'])
def test_what_is_no_schema_has_no_forms_of_its_own_and_does_no_harm(text: str) -> None:
    assert schema_forms(text) <= {Form.OTHER_ROOT, *keyword_forms({"anyOf"})}


def test_a_keyword_that_nobody_knows_is_a_mistake_in_the_table() -> None:
    with pytest.raises(ValueError, match="minimun"):
        keyword_forms({"minimun"})
