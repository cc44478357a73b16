"""Which forms of requests each vendor's models lack: a table, because a target's rejections are made from it.

What is listed here is either refused by the vendor, dropped by it without a word, or not sent by its wire. A server of
no known vendor is taken to have everything: its own 400 says what it lacks.

Sources, autumn 2026: developers.openai.com (structured outputs: supported schemas), docs.claude.com (structured
outputs: JSON Schema limitations; extended thinking with tool use), ai.google.dev (structured output: JSON Schema
support), console.groq.com/docs/structured-outputs, inference-docs.cerebras.ai (structured outputs, tool use),
platform.moonshot.ai, platform.minimax.io, llama.cpp's grammars/README.md; what servers answered or left out, as
reported on GitHub: ollama#8095, ollama#13750 (a schema leaves no tool calls), instructor#1766 (Cerebras refuses to
force tools), vercel/ai#15349 (Cerebras with tools and a schema).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from turnout_server.core.fleet import TargetSpec
from turnout_server.core.forms import NO_FORMS, Form, keyword_forms
from turnout_server.core.model import Capability
from turnout_server.providers.anthropic.models import facts_of as anthropic_facts
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.gemini.models import facts_of as gemini_facts
from turnout_server.providers.openai.models import ForcedTools
from turnout_server.providers.openai.vendor_models import model_facts as openai_facts

_FORCED = frozenset({Form.FORCED_TOOLS, Form.NAMED_TOOL})
_CONDITIONS = ("allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas")
_OBJECT_LIMITS = ("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties")
_ARRAY_LIMITS = ("contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems")
_NUMBER_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")

_STRICT: frozenset[str] = keyword_forms(
    ("oneOf", *_CONDITIONS, *_OBJECT_LIMITS, *_ARRAY_LIMITS, "prefixItems")
) | frozenset({Form.OPTIONAL_PROPERTIES, Form.OPEN_OBJECTS, Form.OTHER_ROOT})
"""Strict mode as OpenAI made it: every property required, no object open; anything else is a 400."""
_ANTHROPIC: frozenset[str] = keyword_forms(
    (
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        *_OBJECT_LIMITS,
        *_ARRAY_LIMITS,
        *_NUMBER_LIMITS,
        "minLength",
        "maxLength",
        "maxItems",
        "prefixItems",
    )
) | frozenset({Form.OPEN_OBJECTS, Form.RECURSION})
_GEMINI: frozenset[str] = keyword_forms(
    (*_CONDITIONS, *_OBJECT_LIMITS, *_ARRAY_LIMITS, "pattern", "minLength", "maxLength", "multipleOf")
)
"""Ignored without a word."""
_OLLAMA: frozenset[str] = keyword_forms(
    (
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        *_OBJECT_LIMITS,
        *_ARRAY_LIMITS,
        "multipleOf",
    )
)
"""Ignored by the grammars that the server makes of schemas."""

_BY_VENDOR: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "openai": _STRICT,
        "groq": _STRICT | {Form.SCHEMA_WITH_TOOLS},
        "cerebras": _STRICT | _FORCED | {Form.SCHEMA_WITH_TOOLS},
        "minimax": _FORCED | {Form.SERIAL_TOOLS},
    }
)
"""Vendors of the openai wire. MiniMax's reference has neither `tool_choice` nor `parallel_tool_calls`."""


def lacking_forms(spec: TargetSpec, dialect: Dialect) -> frozenset[str]:
    """Returns what the target lacks though it has the capabilities for it."""
    model = spec.target.model
    match spec.wire:
        case "openai":
            lacks = _BY_VENDOR.get(dialect.vendor, NO_FORMS)
            match openai_facts(spec, dialect).forced_tools:
                case ForcedTools.NEVER:
                    return lacks | _FORCED
                case ForcedTools.UNTHINKING:
                    return lacks | {Form.FORCED_TOOLS_THINKING}
                case _:
                    return lacks
        case "anthropic":
            facts = anthropic_facts(model)
            # Before, an answer in JSON is the input of a tool that must be called, which rules out both.
            lacks = _ANTHROPIC if facts.schema else frozenset({Form.SCHEMA_WITH_TOOLS, Form.SCHEMA_WITH_THINKING})
            return lacks if facts.always_thinks else lacks | {Form.FORCED_TOOLS_THINKING}
        case "gemini":
            lacks = _GEMINI | {Form.SERIAL_TOOLS}
            return lacks if gemini_facts(model).json_with_tools else lacks | {Form.SCHEMA_WITH_TOOLS}
        case _:
            # The grammar of a schema leaves no room for a tool call.
            return _OLLAMA | _FORCED | {Form.SERIAL_TOOLS, Form.SCHEMA_WITH_TOOLS}


def lacking_capabilities(spec: TargetSpec, dialect: Dialect) -> frozenset[Capability]:
    """Returns the capabilities that a model may have but that its wire cannot ask it for."""
    if spec.wire == "gemini" and not gemini_facts(spec.target.model).schema:
        return frozenset({Capability.JSON_SCHEMA})
    if spec.wire == "openai" and "response_format" in openai_facts(spec, dialect).refuses:
        return frozenset({Capability.JSON_SCHEMA})
    return frozenset()
