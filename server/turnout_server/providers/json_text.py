"""Parses the JSON of providers and callers, tolerant where vendors are sloppy and callers cannot help it."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from turnout_server.providers.exact_json import exact, loads_exact
from turnout_server.providers.failures import invalid_request, protocol_error

_UNSAFE_ID = re.compile(r"[^A-Za-z0-9_-]")
JsonSchema = dict[str, object]

FAILED = "Error: "
"""Stands before what a failed tool returned."""
_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords of JSON Schema whose values are schemas by names of the caller's."""
_LITERAL = frozenset({"const", "enum", "default", "examples", "required"})
"""Keywords whose values are no schemas, whatever they look like."""
MAX_TOOL_CALL_ID_CHARACTERS = 40
"""OpenAI refuses longer ones; every other vendor's fit."""


class HalfCharacters:
    """Joins characters outside the basic plane whose two escaped halves came in different events.

    Strict parsers refuse half a pair, so this is used only after one did. One object per answer; halves are kept per
    part.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, str] = {}

    def join(self, part_index: int, text: str) -> str:
        """Returns the text with an earlier first half before it, and without a first half at its end."""
        text = self._kept.pop(part_index, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._kept[part_index] = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def loads_tolerant(data: bytes) -> object:
    """Parses what the strict parser refused for half a character; UpstreamError PROTOCOL if that was not the reason."""
    if b"\\u" in data:
        try:
            value = loads_exact(data)
        except ValueError:
            pass
        else:
            return value
    raise protocol_error("an event of the answer is not valid JSON")


def caller_json(text: str, what: str) -> object:
    """Parses JSON text of the caller's; UpstreamError INVALID_REQUEST, naming `what`, where it is none."""
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"{what} is not valid JSON: {error.msg} at character {error.pos}") from None
    return value


def caller_schema(text: str, what: str) -> dict[str, object]:
    """Parses a JSON schema of the caller's; "" is a schema of no parameters."""
    if not text:
        return {"type": "object", "properties": {}}
    data = text.encode()
    value = exact(data, caller_json(text, what))
    if not isinstance(value, dict):
        raise invalid_request(f"{what} is not a JSON object")
    return value


def closed_objects(schema: object) -> object:
    """Returns the schema with `additionalProperties: false` on every object that does not say, as strict modes require.

    What fits the closed schema fits the open one too.
    """
    return _changed(schema, _closed)


def without_const(schema: object) -> object:
    """Returns the schema with `enum` of one value in place of each `const`, which means the same."""
    return _changed(schema, _enumerated)


def _closed(schema: JsonSchema) -> JsonSchema:
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    return {**schema, "additionalProperties": False} if is_object and "additionalProperties" not in schema else schema


def _enumerated(schema: JsonSchema) -> JsonSchema:
    if "const" not in schema:
        return schema
    return {"enum" if key == "const" else key: [value] if key == "const" else value for key, value in schema.items()}


def _changed(schema: object, change: Callable[[JsonSchema], JsonSchema]) -> object:
    """Returns a schema with a change made to it and to every schema within it."""
    if isinstance(schema, list):
        return [_changed(value, change) for value in schema]
    if not isinstance(schema, dict):
        return schema
    inner: JsonSchema = {}
    for key, value in schema.items():
        if key in _LITERAL:
            inner[key] = value
        elif key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            # A property may have the name of a keyword.
            inner[key] = {name: _changed(part, change) for name, part in value.items()}
        else:
            inner[key] = _changed(value, change)
    return change(inner)


def wire_name(name: str) -> str:
    """Returns the name of a schema as every vendor takes it: letters, digits, `_` and `-`."""
    return _UNSAFE_ID.sub("_", name)


def tool_arguments(text: str) -> object:
    """Returns tool arguments as the object that some wires demand, also where a model wrote something else.

    An object stays as it was written: parsed and written anew, its long numbers would be rounded.
    """
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        value = None
    return orjson.Fragment(text or "{}") if isinstance(value, dict) else {"arguments": text}


def result_text(text: str, *, is_error: bool) -> str:
    """Returns what a tool returned, for wires that have no other mark of a failure."""
    return f"{FAILED}{text}" if is_error else text


def word(value: object) -> str:
    """Returns an id, a name or a signature as text that can be told on: no halves of characters, "" for nothing."""
    text = value if isinstance(value, str) else str(value or "")
    return text if text.isascii() else text.encode(errors="replace").decode()


def tool_call_id(value: str) -> str:
    """Returns an id that every vendor accepts: ids travel with a conversation from one vendor to the next."""
    return _UNSAFE_ID.sub("_", value)[-MAX_TOOL_CALL_ID_CHARACTERS:]


def whole_numbers(value: object) -> object:
    """Returns the value with whole doubles as integers: a protobuf Struct knows only doubles, vendors want integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole_numbers(inner) for inner in value]
    return value
