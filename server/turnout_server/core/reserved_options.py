"""Which fields of a provider's request body callers may not set by `provider_options`: what the sidecar decides itself.

It sets what is called and how the answer is read, and it accounts for tokens; an option that did any of that behind its
back would make decisions, limits and bills wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RESERVED_OPTIONS = frozenset(
    {
        "model",
        "n",
        "stream",
        "stream_options",
        "messages",
        "contents",
        "prompt",
        "system",
        "systemInstruction",
        "system_instruction",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "num_predict",
        "generation_config",
        "tool_config",
    }
)
"""Fields of any wire. Gemini's second spellings of what we set would hide ours."""

RESERVED_INNER_OPTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "generationConfig": frozenset({"candidateCount", "candidate_count", "maxOutputTokens", "max_output_tokens"}),
        "options": frozenset({"num_predict"}),
    }
)
"""Fields within fields, of the gemini and of the ollama wire."""


def reserved_options(options: Mapping[str, object]) -> list[str]:
    """Returns the names of those that are reserved, sorted, inner ones with a dot."""
    found = [name for name in options if name in RESERVED_OPTIONS]
    for outer, reserved in RESERVED_INNER_OPTIONS.items():
        inner = options.get(outer)
        if isinstance(inner, Mapping):
            found += [f"{outer}.{name}" for name in inner if name in reserved]
    return sorted(found)
