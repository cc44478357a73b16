"""The built-in tables: which models come first for a task and tier, where the operator's policy has no row of its own.

A row names lines of models: what it names today and what stands in for that, in the order of choice. In a fleet, a line
is the first of its models that is enabled and that its vendor still serves, so that a row outlives its models.
"""

from __future__ import annotations

from types import MappingProxyType

from turnout_server.core.tables import ANY_TIER, BuiltInRow, BuiltInTables, ModelLine


def _line(provider: str, *models: str) -> ModelLine:
    return tuple(f"{provider}/{model}" for model in models)


CLAUDE_OPUS = _line(
    "anthropic",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-opus-4-5",
)
CLAUDE_SONNET = _line(
    "anthropic", "claude-sonnet-5-5", "claude-sonnet-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-sonnet-4-0"
)
CLAUDE_HAIKU = _line("anthropic", "claude-haiku-5-5", "claude-haiku-4-5", "claude-3-5-haiku-latest")
MISTRAL_SMALL = _line("mistral", "mistral-small-latest", "mistral-small-2603")
# Mistral names Mistral Small as what replaces Devstral Small, which it has not served since May 2026.
DEVSTRAL_SMALL = (*_line("mistral", "devstral-small-2505"), *MISTRAL_SMALL)
CODESTRAL = _line("mistral", "codestral-latest", "codestral-2508")
# Successors near in price, those that take tools and reasoning together first.
GPT_4O = _line(
    "openai",
    "gpt-4o",
    "gpt-5.6-terra",
    "gpt-5.4",
    "gpt-5.6-sol",
    "gpt-4.1",
    "gpt-6.1-terra",
    "gpt-6.1-sol",
    "gpt-6-sol",
)
GPT_4O_MINI = _line("openai", "gpt-4o-mini", "gpt-5.6-luna", "gpt-5.4-mini", "gpt-4.1-mini", "gpt-6-luna")
# Those that Google sells as Pro, finished ones before previews, then what it sells in their place.
GEMINI_PRO = _line("google", "gemini-2.5-pro", "gemini-3.1-pro-preview", "gemini-4-argon")

LINES: tuple[tuple[str, ModelLine], ...] = (
    ("Claude Opus", CLAUDE_OPUS),
    ("Claude Sonnet", CLAUDE_SONNET),
    ("Claude Haiku", CLAUDE_HAIKU),
    ("devstral-small", DEVSTRAL_SMALL),
    ("mistral-small", MISTRAL_SMALL),
    ("codestral", CODESTRAL),
    ("gpt-4o", GPT_4O),
    ("gpt-4o-mini", GPT_4O_MINI),
    ("Gemini Pro", GEMINI_PRO),
)
"""Every line by the name that people know it by."""


def _task(*any_tier: ModelLine, **tiers: tuple[ModelLine, ...]) -> MappingProxyType[str, BuiltInRow]:
    row = BuiltInRow(any_tier)
    return MappingProxyType(
        {ANY_TIER: row, **{tier: BuiltInRow(lines, otherwise=row) for tier, lines in tiers.items()}}
    )


BUILT_IN_TABLES: BuiltInTables = MappingProxyType(
    {
        "auto_fix": _task(DEVSTRAL_SMALL, CLAUDE_SONNET, CODESTRAL, GPT_4O, GPT_4O_MINI),
        "code_review": _task(CLAUDE_SONNET, CODESTRAL, GPT_4O, CLAUDE_OPUS),
        "chat": _task(CLAUDE_HAIKU, MISTRAL_SMALL, GPT_4O_MINI, free=(CLAUDE_HAIKU,), ultimate=(CLAUDE_SONNET,)),
        "planning": _task(CLAUDE_HAIKU, MISTRAL_SMALL, GPT_4O_MINI, free=(MISTRAL_SMALL, CLAUDE_HAIKU)),
        "multimodal": _task(CLAUDE_SONNET, GPT_4O, GEMINI_PRO),
        "complex_analysis": _task(CLAUDE_OPUS),
    }
)
