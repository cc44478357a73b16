"""What each vendor is sent for each feature of tools and structured output: all of it, or the target is rejected with
the name of what it lacks. Nothing is ever left out without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from tests.api.sidecar import reason
from tests.tools.capturing import VENDORS, Captured, capturing
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb

Body = dict[str, Any]

TARGETS = (
    "openai/gpt-4o",
    "openai/gpt-5.2",
    "anthropic/claude-sonnet-4-6",
    "anthropic/claude-sonnet-5-5",
    "anthropic/claude-opus-4-1",
    "google/gemini-3.5-flash",
    "google/gemini-2.5-flash",
    "google/gemini-1.5-pro",
    "mistral/mistral-large-2512",
    "groq/openai/gpt-oss-120b",
    "cerebras/gpt-oss-120b",
    "xai/grok-4.3",
    "kimi/kimi-k3",
    "kimi/kimi-k2.6",
    "kimi/kimi-k2.7-code",
    "minimax/MiniMax-M2.5",
    "openrouter/openai/gpt-4o",
    "ollama/local",
)

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = PLACE | {"additionalProperties": False}
NESTED = {
    "type": "object",
    "$defs": {"place": CLOSED},
    "properties": {"to": {"$ref": "#/$defs/place"}, "way": {"anyOf": [{"type": "string", "enum": ["rail"]}]}},
    "required": ["to", "way"],
    "additionalProperties": False,
}


def tools() -> list[pb.Tool]:
    return [pb.Tool(name=name, parameters_json_schema=json.dumps(PLACE)) for name in ("weather", "trains")]


def schema(value: object) -> pb.ResponseFormat:
    return pb.ResponseFormat(json_schema=pb.JsonSchema(name="a plan", schema_json=json.dumps(value)))


def limited(**limits: object) -> pb.ResponseFormat:
    kind = {"type": "number"} if limits.keys() & {"minimum", "multipleOf"} else {"type": "string"}
    return schema({"type": "object", "properties": {"x": kind | limits}, "required": ["x"]})


Fields = Mapping[str, Any]

FEATURES: Mapping[str, Callable[[], Fields]] = {
    "tools": lambda: {"tools": tools()},
    "none": lambda: {"tools": tools(), "tool_choice": pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NONE)},
    "required": lambda: {"tools": tools(), "tool_choice": pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_REQUIRED)},
    "named": lambda: {"tools": tools(), "tool_choice": pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NAMED, name="trains")},
    "required, thinking": lambda: {
        "tools": tools(),
        "tool_choice": pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_REQUIRED),
        "reasoning_effort": pb.REASONING_EFFORT_HIGH,
    },
    "one at a time": lambda: {"tools": tools(), "parallel_tool_calls": False},
    "several at once": lambda: {"tools": tools(), "parallel_tool_calls": True},
    "schema": lambda: {"response_format": schema(NESTED)},
    "schema, tools": lambda: {"response_format": schema(NESTED), "tools": tools()},
    "schema, thinking": lambda: {"response_format": schema(NESTED), "reasoning_effort": pb.REASONING_EFFORT_HIGH},
    "open objects": lambda: {"response_format": schema(PLACE | {"additionalProperties": {"type": "string"}})},
    "optional": lambda: {"response_format": schema(PLACE | {"required": []})},
    "pattern": lambda: {"response_format": limited(pattern="^[a-z]+$")},
    "minLength": lambda: {"response_format": limited(minLength=2)},
    "minimum": lambda: {"response_format": limited(minimum=1)},
    "multipleOf": lambda: {"response_format": limited(multipleOf=5)},
    "not": lambda: {"response_format": limited(**{"not": {"const": "x"}})},
    "any object": lambda: {"response_format": pb.ResponseFormat(json_object=pb.JsonObject())},
}

FORCED = {
    "required": "tool_choice REQUIRED",
    "named": "tool_choice NAMED",
    "required, thinking": "tool_choice REQUIRED",
}
STRICT = {
    "open objects": "JSON_SCHEMA with additionalProperties",
    "optional": "JSON_SCHEMA with optional properties",
    "not": "JSON_SCHEMA with not",
}
NO_SCHEMA = {
    name: "JSON_SCHEMA"
    for name in FEATURES
    if name.startswith("schema") or name in {"open objects", "optional", "pattern", "minLength", "minimum"}
} | {"multipleOf": "JSON_SCHEMA", "not": "JSON_SCHEMA"}
NO_THINKING = {"required, thinking": "THINKING", "schema, thinking": "THINKING"}
CLAUDE = {
    "open objects": "JSON_SCHEMA with additionalProperties",
    "minLength": "JSON_SCHEMA with minLength",
    "minimum": "JSON_SCHEMA with minimum",
    "multipleOf": "JSON_SCHEMA with multipleOf",
    "not": "JSON_SCHEMA with not",
}
GEMINI = {
    "one at a time": "parallel_tool_calls false",
    "pattern": "JSON_SCHEMA with pattern",
    "minLength": "JSON_SCHEMA with minLength",
    "multipleOf": "JSON_SCHEMA with multipleOf",
    "not": "JSON_SCHEMA with not",
}
WITH_TOOLS = {"schema, tools": "JSON_SCHEMA together with TOOLS"}
THINKING_OR_TOOL = {"required, thinking": "together with THINKING"}

REJECTED: Mapping[str, Mapping[str, str]] = {
    "openai/gpt-4o": STRICT | NO_THINKING,
    "openai/gpt-5.2": STRICT,
    "anthropic/claude-sonnet-4-6": CLAUDE | THINKING_OR_TOOL,
    "anthropic/claude-sonnet-5-5": CLAUDE,
    "anthropic/claude-opus-4-1": WITH_TOOLS
    | THINKING_OR_TOOL
    | {"schema, thinking": "JSON_SCHEMA together with THINKING"},
    "google/gemini-3.5-flash": GEMINI,
    "google/gemini-2.5-flash": GEMINI | WITH_TOOLS,
    "google/gemini-1.5-pro": {"one at a time": "parallel_tool_calls false"} | NO_SCHEMA | NO_THINKING,
    "mistral/mistral-large-2512": NO_THINKING,
    "groq/openai/gpt-oss-120b": STRICT | WITH_TOOLS,
    "cerebras/gpt-oss-120b": STRICT | WITH_TOOLS | FORCED,
    "xai/grok-4.3": {},
    "kimi/kimi-k3": {},
    "kimi/kimi-k2.6": THINKING_OR_TOOL,
    "kimi/kimi-k2.7-code": FORCED,
    "minimax/MiniMax-M2.5": FORCED | NO_SCHEMA | {"one at a time": "parallel_tool_calls false"},
    "openrouter/openai/gpt-4o": NO_THINKING,
    "ollama/local": FORCED
    | WITH_TOOLS
    | {
        "one at a time": "parallel_tool_calls false",
        "several at once": "PARALLEL_TOOLS",
        "multipleOf": "JSON_SCHEMA with multipleOf",
        "not": "JSON_SCHEMA with not",
    },
}
"""By target and feature: what the rejection names. Everything that is not here is carried."""


def test_matrix_knows_every_target_and_vendor() -> None:
    assert set(TARGETS) == REJECTED.keys()
    assert VENDORS.keys() == {target.partition("/")[0] for target in TARGETS}


async def test_every_feature_is_carried_or_the_target_is_rejected_by_its_name(tmp_path: Path) -> None:
    wrong = {}
    async with capturing(tmp_path) as captured:
        for target in TARGETS:
            for feature, fields in FEATURES.items():
                told = await _told(captured, target, fields())
                fault = _fault(target, feature, told)
                if fault:
                    wrong[target, feature] = fault

    assert {} == wrong


def _fault(target: str, feature: str, told: Body | str) -> str:
    """Returns what is wrong with what a target was sent, or with why it was rejected; "" for nothing."""
    rejected = REJECTED[target].get(feature)
    if rejected is not None:
        named = isinstance(told, str) and told.startswith("lacks ") and rejected in told
        return "" if named else f"is to be rejected for {rejected!r}, but: {told}"
    if isinstance(told, str):
        return f"is rejected: {told}"
    return "" if CARRIED[VENDORS[target.partition("/")[0]]](feature, told) else f"is not carried: {told}"


async def _told(captured: Captured, target: str, fields: Fields) -> Body | str:
    """Returns what the vendor was sent, or why the target was rejected."""
    captured.bodies.clear()
    turn = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Where to?")])
    request = pb.ExecuteRequest(
        input=pb.ChatInput(messages=[turn], max_output_tokens=4096, **fields),
        options=pb.RoutingOptions(force_target=target),
    )
    try:
        await captured.stub.Execute(request)
    except grpc.aio.AioRpcError as error:
        assert "NO_ELIGIBLE_TARGET" == reason(error), error.details()
        assert [] == captured.bodies
        return await _rejection(captured, target, error)
    assert 1 == len(captured.bodies)
    return captured.bodies[0]


async def _rejection(captured: Captured, target: str, error: grpc.aio.AioRpcError) -> str:
    """Returns what the history says of the target that was asked for."""
    decision_id = dict(error.trailing_metadata() or ())["turnout-decision-id"]
    kept = await captured.admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=str(decision_id)))
    rejections = kept.decision.decision.rejections
    found = [one for one in rejections if f"{one.target.provider}/{one.target.model}" == target]
    assert pb.REJECTION_REASON_CAPABILITY in found[0].reasons
    return found[0].detail


def _openai(feature: str, body: Body) -> bool:  # noqa: PLR0911 - a table with words
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    both = names == ["weather", "trains"]
    form = body.get("response_format", {})
    sent = form.get("json_schema", {})
    choice = body.get("tool_choice")
    if feature == "any object":
        return form == {"type": "json_object"} or "one JSON object" in body["messages"][0]["content"]
    if feature == "none":
        return (both and choice == "none") or not names
    if feature == "named":
        one = choice == {"type": "function", "function": {"name": "trains"}} and both
        return one or (names == ["trains"] and choice == "required")
    if feature == "one at a time":
        return both and body["parallel_tool_calls"] is False
    if feature == "several at once":
        # Several at once is what every vendor does unless told otherwise.
        return both and body.get("parallel_tool_calls", True) is True
    if feature.startswith("required"):
        thinking = body.get("thinking") != {"type": "disabled"} if feature.endswith("thinking") else True
        return both and choice in {"required", "any"} and thinking
    if "schema" in feature or form:
        return sent.get("strict") is True and sent["name"] == "a_plan" and _fits(sent["schema"], feature)
    return both


def _anthropic(feature: str, body: Body) -> bool:
    names = [tool["name"] for tool in body.get("tools", [])]
    both = names == ["weather", "trains"]
    choice = body.get("tool_choice", {})
    form = body.get("output_config", {}).get("format", {})
    if feature == "any object":
        return names == ["turnout_json_answer"] or "one JSON object" in body["system"][-1]["text"]
    if form:
        return _fits(form["schema"], feature) and (both or "tools" not in feature)
    if feature not in TOOL_FEATURES:
        answer = body["tools"][0]
        return choice == {"type": "tool", "name": answer["name"]} and _fits(answer["input_schema"], feature)
    wanted: Mapping[str, Body] = {
        "none": {"type": "none"},
        "required": {"type": "any"},
        "required, thinking": {"type": "any"},
        "named": {"type": "tool", "name": "trains"},
        "one at a time": {"type": "auto", "disable_parallel_tool_use": True},
        "several at once": {"type": "auto", "disable_parallel_tool_use": False},
    }
    return both and choice == wanted.get(feature, {})


def _gemini(feature: str, body: Body) -> bool:
    names = [each["name"] for tool in body.get("tools", []) for each in tool["functionDeclarations"]]
    both = names == ["weather", "trains"]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    config = body.get("generationConfig", {})
    if feature == "any object":
        return bool(config["responseMimeType"] == "application/json")
    if feature not in TOOL_FEATURES:
        return _fits(config["responseJsonSchema"], feature) and (both or "tools" not in feature)
    wanted: Mapping[str, Body] = {
        "none": {"mode": "NONE"},
        "required": {"mode": "ANY"},
        "required, thinking": {"mode": "ANY"},
        "named": {"mode": "ANY", "allowedFunctionNames": ["trains"]},
    }
    return both and calling == wanted.get(feature, {})


def _ollama(feature: str, body: Body) -> bool:
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    if feature == "any object":
        return bool(body["format"] == "json")
    if feature == "none":
        return not names
    if feature in TOOL_FEATURES:
        return names == ["weather", "trains"]
    return _fits(body["format"], feature) and (feature != "schema, thinking" or body["think"] is True)


TOOL_FEATURES = frozenset(
    name for name in FEATURES if "schema" not in name and "response_format" not in FEATURES[name]()
)
CARRIED: Mapping[str, Callable[[str, Body], bool]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
"""By wire: whether what was sent says all that the feature asks."""


def _fits(sent: Body, feature: str) -> bool:
    """Whether a schema says all that the caller's did; objects may have been closed."""
    asked = json.loads(FEATURES[feature]()["response_format"].json_schema.schema_json)
    return _within(asked, sent)


def _within(asked: object, sent: object) -> bool:
    if isinstance(asked, dict) and isinstance(sent, dict):
        added = sent.keys() - asked.keys()
        closed = not added or (added == {"additionalProperties"} and sent["additionalProperties"] is False)
        return closed and all(name in sent and _within(value, sent[name]) for name, value in asked.items())
    if isinstance(asked, list) and isinstance(sent, list):
        return len(asked) == len(sent) and all(map(_within, asked, sent))
    return asked == sent
