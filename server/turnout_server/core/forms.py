"""What a request needs beyond single capabilities: forms and combinations that vendors lack who have each part of them.

A vendor that cannot force a tool call still calls tools; one that enforces schemas may not enforce every keyword. Sent
there all the same, such a request would be answered, and the answer would not be what was asked for. So each form has a
name, targets say which they lack, and the filters reject them by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache

from turnout_server.core.chat import ChatInput, ToolChoiceMode
from turnout_server.core.model import ReasoningEffort


class Form(StrEnum):
    """A form that a target may lack; the words stand in rejections after "lacks"."""

    FORCED_TOOLS = "TOOLS with tool_choice REQUIRED"
    NAMED_TOOL = "TOOLS with tool_choice NAMED"
    SERIAL_TOOLS = "TOOLS with parallel_tool_calls false"
    FORCED_TOOLS_THINKING = "TOOLS with tool_choice REQUIRED or NAMED together with THINKING"
    SCHEMA_WITH_TOOLS = "JSON_SCHEMA together with TOOLS"
    SCHEMA_WITH_THINKING = "JSON_SCHEMA together with THINKING"
    OPTIONAL_PROPERTIES = "JSON_SCHEMA with optional properties"
    OPEN_OBJECTS = "JSON_SCHEMA with additionalProperties"
    RECURSION = "JSON_SCHEMA that contains itself"
    OTHER_ROOT = "JSON_SCHEMA whose root is no object"


NO_FORMS: frozenset[str] = frozenset()
REMEMBERED_CHARACTERS = 16 * 1024
"""Longer schemas are looked through each time: 64 of them may be remembered."""

KEYWORDS = frozenset(
    {
        "allOf",
        "anyOf",
        "const",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "if",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""The keywords of JSON Schema that limit what is valid, beside those that every vendor takes."""

_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values are schemas by names of the caller's."""
_LITERAL = frozenset({"const", "enum", "default", "examples", "example", "required", "dependentRequired"})
"""Keywords whose values are no schemas, whatever they look like."""


def keyword_forms(names: Iterable[str]) -> frozenset[str]:
    """Returns the forms of schemas with these keywords; ValueError for a name that is none of `KEYWORDS`."""
    forms = frozenset(names)
    if unknown := forms - KEYWORDS:
        raise ValueError(f"no keywords that limit: {', '.join(sorted(unknown))}")
    return frozenset(map(_of_keyword, forms))


def needed_forms(chat: ChatInput, effort: ReasoningEffort | None) -> frozenset[str]:
    """Returns the forms that a request needs; `effort` is the one that holds for it. Empty for most requests."""
    choice, wanted = chat.tool_choice, chat.response_format
    if not chat.tools and wanted is None:
        return NO_FORMS
    forms: set[str] = set()
    thinks = effort not in {None, ReasoningEffort.NONE}
    if chat.tools:
        if choice is not None and choice.mode in {ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED}:
            forms.add(Form.FORCED_TOOLS if choice.mode is ToolChoiceMode.REQUIRED else Form.NAMED_TOOL)
            if thinks:
                forms.add(Form.FORCED_TOOLS_THINKING)
        # Who must not call any tool calls none at the same time.
        if chat.parallel_tool_calls is False and (choice is None or choice.mode is not ToolChoiceMode.NONE):
            forms.add(Form.SERIAL_TOOLS)
    if wanted is not None and wanted.schema_json:
        if chat.tools:
            forms.add(Form.SCHEMA_WITH_TOOLS)
        if thinks:
            forms.add(Form.SCHEMA_WITH_THINKING)
        if wanted.strict:
            text = wanted.schema_json
            forms |= _remembered(text) if len(text) <= REMEMBERED_CHARACTERS else schema_forms(text)
    return frozenset(forms) if forms else NO_FORMS


def schema_forms(text: str) -> frozenset[str]:
    """Returns the forms that a strict schema needs; none for what is no schema, which others refuse."""
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return NO_FORMS
    if not isinstance(root, Mapping):
        return NO_FORMS
    forms: set[str] = set()
    if root.get("type") != "object" or "anyOf" in root:
        forms.add(Form.OTHER_ROOT)
    for schema in _schemas(root):
        forms.update(_of_keyword(name) for name in KEYWORDS.intersection(schema))
        properties, required = schema.get("properties"), schema.get("required")
        if isinstance(properties, Mapping) and not properties.keys() <= frozenset(_words(required)):
            forms.add(Form.OPTIONAL_PROPERTIES)
        if schema.get("additionalProperties", False) is not False:
            forms.add(Form.OPEN_OBJECTS)
    if _recurs(root):
        forms.add(Form.RECURSION)
    return frozenset(forms)


_remembered = lru_cache(maxsize=64)(schema_forms)


def _of_keyword(name: str) -> str:
    return f"JSON_SCHEMA with {name}"


def _words(value: object) -> Iterator[str]:
    return (word for word in value if isinstance(word, str)) if isinstance(value, list) else iter(())


def _schemas(root: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yields a schema and every schema within it, whatever stands around it."""
    left: list[object] = [root]
    while left:
        schema = left.pop()
        if not isinstance(schema, Mapping):
            if isinstance(schema, list):
                left.extend(schema)
            continue
        yield schema
        for name, value in schema.items():
            if name in _BY_NAME:
                left.extend(value.values() if isinstance(value, Mapping) else ())
            elif name not in _LITERAL:
                left.append(value)


def _recurs(root: Mapping[str, object]) -> bool:
    """Whether some schema refers to itself, by way of others or not."""
    refers: dict[str, set[str]] = {}
    places = {"#": root}
    for keyword in ("$defs", "definitions"):
        found = root.get(keyword)
        if isinstance(found, Mapping):
            places |= {f"#/{keyword}/{name}": schema for name, schema in found.items() if isinstance(schema, Mapping)}
    for place, schema in places.items():
        # The definitions of the root are not part of what it says itself.
        own = {name: value for name, value in schema.items() if place != "#" or name not in {"$defs", "definitions"}}
        refers[place] = {str(inner["$ref"]) for inner in _schemas(own) if "$ref" in inner}
    return any(place in _reached(place, refers) for place in refers)


def _reached(start: str, refers: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    left = list(refers[start])
    while left:
        place = left.pop()
        if place not in reached:
            reached.add(place)
            left.extend(refers.get(place, ()))
    return reached
