"""What a simulated model answers: words by chance, tools where the prompt names them, JSON where a schema is given.

Wires reduce a request to an `Asked` and spell out an `Answer`; everything in between knows no vendor.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

_BYTES_PER_TOKEN = 4
_MAX_DEPTH = 6
_WORDS = (  # noqa: SIM905 - words read better as a sentence than as a list
    "a train takes the points and the signal clears while freight waits on the loop line for an express that runs late "
    "because the yard was full before dawn and nobody had thrown the switch back"
).split()


class ToolDemand(StrEnum):
    """Whether the model may, must or must not call tools."""

    NONE = "none"
    AUTO = "auto"
    ANY = "any"


class Finish(StrEnum):
    """Why the answer ends."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool the caller offers, with the JSON schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request without its wire.

    `prefix` is everything but the last message, serialised: what a prompt cache would hold. `cache_asked` says that the
    caller marked it for caching (None where the vendor caches by itself). `last_text` is the last user message, empty
    when the last message is a tool's result.
    """

    model: str
    streamed: bool
    prefix: bytes
    input_tokens: int
    last_text: str = ""
    max_output_tokens: int | None = None
    tools: Sequence[OfferedTool] = ()
    tool_demand: ToolDemand = ToolDemand.NONE
    tool_name: str = ""
    parallel_tools: bool = True
    json_wanted: bool = False
    json_schema: Mapping[str, Any] | None = None
    reasoning_wanted: bool = False
    usage_wanted: bool = True
    cache_asked: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledTool:
    """A call of a tool by the model."""

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Tokens by class: input includes the cached and the cache-write ones, output the reasoning ones."""

    input_count: int
    output_count: int
    cached_count: int = 0
    cache_write_count: int = 0
    reasoning_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer without its wire."""

    id: str
    model: str
    reasoning: str
    text: str
    tool_calls: Sequence[CalledTool]
    finish: Finish
    tokens: TokenCount


def token_count(data: bytes | str) -> int:
    """Returns the simulated size of a text: a token for every four bytes, at least one for anything at all."""
    size = len(data.encode()) if isinstance(data, str) else len(data)
    return -(-size // _BYTES_PER_TOKEN)


def compose(
    asked: Asked, *, output_tokens: int, reasoning_tokens: int, cached: int, cache_write: int, rng: random.Random
) -> Answer:
    """Makes an answer of about `output_tokens` tokens (±25 %), cut at the caller's limit."""
    answer_id = f"{rng.getrandbits(96):024x}"
    reasoning = _words(reasoning_tokens, rng) if asked.reasoning_wanted else ""
    tool_calls = _tool_calls(asked, rng)
    finish = Finish.TOOL_CALLS if tool_calls else Finish.STOP
    text = ""
    if not tool_calls:
        text = _text(asked, max(1, round(output_tokens * (0.75 + 0.5 * rng.random()))), rng)
    limit = asked.max_output_tokens
    tool_tokens = sum(token_count(call.name + call.arguments_json) for call in tool_calls)
    if limit is not None and len(text.split(" ")) > limit:
        text, finish = " ".join(text.split(" ")[:limit]), Finish.LENGTH
    reasoned = len(reasoning.split()) if reasoning else 0
    return Answer(
        id=answer_id,
        model=asked.model,
        reasoning=reasoning,
        text=text,
        tool_calls=tool_calls,
        finish=finish,
        tokens=TokenCount(
            input_count=asked.input_tokens,
            output_count=(len(text.split(" ")) if text else 0) + tool_tokens + reasoned,
            cached_count=cached,
            cache_write_count=cache_write,
            reasoning_count=reasoned,
        ),
    )


def example(  # noqa: PLR0911 - one for each kind of value
    schema: Mapping[str, Any], rng: random.Random, depth: int = 0, root: Mapping[str, Any] | None = None
) -> Any:
    """Returns a value that fits the common parts of a JSON schema: type, properties, items, enum, const, anyOf, and
    references to the definitions of `root`, which is the schema itself where none is given.
    """
    root = schema if root is None else root
    if "$ref" in schema and depth < _MAX_DEPTH:
        return example(_referred(str(schema["$ref"]), root), rng, depth + 1, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        return example(choice, rng, depth + 1, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {}) if depth < _MAX_DEPTH else {}
        return {name: example(part, rng, depth + 1, root) for name, part in properties.items()}
    if kind == "array":
        return [example(schema["items"], rng, depth + 1, root)] if schema.get("items") and depth < _MAX_DEPTH else []
    number = schema.get("minimum", rng.randint(1, 9))
    plain = {"integer": number, "number": float(number), "boolean": number % 2 == 0, "null": None}
    return plain[kind] if kind in plain else _words(2, rng)


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a reference within the schema means, as in `#/$defs/place`; anything goes where it leads nowhere."""
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=count))


def _text(asked: Asked, count: int, rng: random.Random) -> str:
    if asked.json_schema is not None:
        return orjson.dumps(example(asked.json_schema, rng)).decode()
    if asked.json_wanted:
        return orjson.dumps({"answer": _words(count, rng)}).decode()
    return _words(count, rng)


def _tool_calls(asked: Asked, rng: random.Random) -> tuple[CalledTool, ...]:
    """Calls the tools that the last user message names; where calling is demanded and none is named, the first."""
    if asked.tool_demand is ToolDemand.NONE or not asked.tools:
        return ()
    if asked.tool_name:
        chosen = [tool for tool in asked.tools if tool.name == asked.tool_name]
    else:
        chosen = [tool for tool in asked.tools if tool.name in asked.last_text]
        if not chosen and asked.tool_demand is ToolDemand.ANY:
            chosen = [asked.tools[0]]
        if not asked.parallel_tools:
            chosen = chosen[:1]
    return tuple(
        CalledTool(
            id=f"{rng.getrandbits(96):024x}",
            name=tool.name,
            arguments_json=orjson.dumps(example(tool.parameters, rng)).decode(),
        )
        for tool in chosen
    )
