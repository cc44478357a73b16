"""The built-in table of providers and models: what they are called, cost, hold and can do.

Written by hand. Prices and context windows: PyPI package genai-prices 0.2.3 (MIT), read on 2026-11-21. Longest
answers and dates of retirement: the vendors' model pages and the model lists of their Python libraries, same day.
Quality, latency and speed are our own seeds, by family; measurements soon replace latency and speed.

Where a vendor charges more for prompts beyond some length, the window ends there: no prompt can then cost more than is
computed. A model is marked deprecated once the vendor no longer serves it, so that it is never chosen unless named;
`retires_on` is the date announced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from turnout_server.core.fleet import Price
from turnout_server.core.model import NANO_USD, Capability

CATALOG_DATE = "2026-11-21"

_TEXT = frozenset({Capability.STREAMING, Capability.CODE})
_TOOLS = frozenset({Capability.TOOLS, Capability.PARALLEL_TOOLS})
_CACHE = frozenset({Capability.PROMPT_CACHING})
_VISION = frozenset({Capability.VISION})
_DOCUMENTS = frozenset({Capability.DOCUMENTS})
_SCHEMA = frozenset({Capability.JSON_SCHEMA})
_THINKING = frozenset({Capability.THINKING})

_CLAUDE_3 = _TEXT | _TOOLS | _CACHE | _VISION | _SCHEMA
_CLAUDE_35 = _CLAUDE_3 | _DOCUMENTS
_CLAUDE_4 = _CLAUDE_35 | _THINKING
_GPT_4_TURBO = _TEXT | _TOOLS | _VISION
_GPT_4O = _TEXT | _TOOLS | _CACHE | _VISION | _DOCUMENTS | _SCHEMA
_GPT_5 = _GPT_4O | _THINKING
# Chat completions of the GPT-6 family take function tools only where no reasoning is asked for.
_GPT_6 = _GPT_5 - _TOOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model. Tokens are counts, quality is 0 to 100; None is unknown."""

    name: str
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    capabilities: frozenset[Capability] = frozenset()
    custom_capabilities: frozenset[str] = frozenset()
    quality: float | None = None
    latency_prior_seconds: float = 1.0
    seconds_per_output_token: float = 0.015
    silent_thinking: bool = False
    deprecated: bool = False
    retires_on: str = ""
    """Date (ISO 8601) from which the vendor no longer serves it, "" where none is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRow:
    """One vendor's API. `key_variables` are where its users keep the key, the usual one first."""

    name: str
    wire: str
    base_url: str
    key_variables: tuple[str, ...]
    models: tuple[ModelRow, ...]


LATER_KEY_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "google": ("GEMINI_API_KEY", "GOOGLE_AI_API_KEY"),
        "kimi": ("MOONSHOT_API_KEY",),
        "groq": ("GROQ_API_KEY",),
        "cerebras": ("CEREBRAS_API_KEY",),
        "minimax": ("MINIMAX_API_KEY",),
        "mistral": ("MISTRAL_API_KEY",),
        "xai": ("XAI_API_KEY",),
        "openrouter": ("OPENROUTER_API_KEY",),
        "ollama": ("OLLAMA_HOST",),
    }
)
"""Vendors that this version knows by name and usual key variable only."""

DEFAULT_PROVIDER_ORDER = (
    "anthropic",
    "openai",
    "google",
    "kimi",
    "groq",
    "cerebras",
    "minimax",
    "mistral",
    "xai",
    "openrouter",
)
"""The order of PRIORITY; custom providers follow in file order, ollama is last."""

LAST_PROVIDER = "ollama"


def nano(usd: str | float | Decimal) -> int:
    """Returns USD as nano-USD, rounded to the nearest."""
    return int((Decimal(str(usd)) * NANO_USD).to_integral_value())


def _price(*usd: str) -> Price:
    """A price from USD per million: input, output, cached input, cache write, one-hour cache write."""
    values = [nano(value) for value in usd]
    rest: list[int | None] = [*values[2:], *[None] * (5 - len(values))]
    return Price(
        input_per_million=values[0],
        output_per_million=values[1],
        cached_input_per_million=rest[0],
        cache_write_per_million=rest[1],
        cache_write_1h_per_million=rest[2],
    )


@dataclass(frozen=True, slots=True)
class _Family:
    """Our own seeds for models of one kind: quality, seconds to the first token and for each further one."""

    quality: float
    first_token_seconds: float
    seconds_per_output_token: float


_FABLE = _Family(98, 2.5, 0.020)
_OPUS = _Family(97, 2.0, 0.020)
_SONNET = _Family(95, 1.5, 0.015)
_HAIKU = _Family(85, 0.8, 0.008)
_ASTRA = _Family(97, 2.0, 0.018)
_GPT = _Family(95, 1.2, 0.012)
_MINI = _Family(80, 0.6, 0.008)
_NANO = _Family(70, 0.4, 0.006)


def _row(
    name: str,
    family: _Family,
    tokens: tuple[int, int],
    price: Price,
    capabilities: frozenset[Capability],
    *,
    thinks: bool = False,
    retired: bool = False,
    retires_on: str = "",
) -> ModelRow:
    return ModelRow(
        name=name,
        context_window_tokens=tokens[0],
        max_output_tokens=tokens[1],
        price=price,
        capabilities=capabilities,
        quality=family.quality,
        latency_prior_seconds=family.first_token_seconds,
        seconds_per_output_token=family.seconds_per_output_token,
        silent_thinking=thinks,
        deprecated=retired,
        retires_on=retires_on,
    )


def _anthropic() -> tuple[ModelRow, ...]:
    million, old, sixty_four = (1_000_000, 128_000), (200_000, 4096), (200_000, 64_000)
    opus_45, opus_4 = _price("5", "25", "0.5", "6.25", "10"), _price("15", "75", "1.5", "18.75", "30")
    sonnet_4 = _price("3", "15", "0.3", "3.75", "6")
    sonnet_5 = _price("2", "10", "0.2", "2.5", "4")
    # Dearer above 100,000 input tokens.
    haiku_55 = _price("0.1", "0.5", "0.01", "0.125", "0.2")
    return (
        _row("claude-sonnet-4-5", _SONNET, sixty_four, sonnet_4, _CLAUDE_4, retires_on="2026-11-30"),
        _row("claude-sonnet-4-6", _SONNET, (1_000_000, 64_000), sonnet_4, _CLAUDE_4),
        _row("claude-sonnet-5", _SONNET, million, sonnet_5, _CLAUDE_4, thinks=True),
        _row("claude-sonnet-5-5", _SONNET, million, _price("2", "10", "0.1", "2.5", "4"), _CLAUDE_4, thinks=True),
        _row("claude-opus-4-5", _OPUS, sixty_four, opus_45, _CLAUDE_4),
        _row("claude-opus-4-6", _OPUS, million, opus_45, _CLAUDE_4),
        _row("claude-opus-4-7", _OPUS, million, opus_45, _CLAUDE_4),
        _row("claude-opus-4-8", _OPUS, million, opus_45, _CLAUDE_4),
        _row("claude-opus-5", _OPUS, million, opus_45, _CLAUDE_4, thinks=True),
        _row("claude-opus-5-5", _OPUS, million, _price("4", "20", "0.2", "5", "8"), _CLAUDE_4, thinks=True),
        _row("claude-fable-5-1", _FABLE, million, _price("10", "50", "0.25", "12.5", "20"), _CLAUDE_4, thinks=True),
        _row("claude-fable-5-2", _FABLE, million, _price("8", "40", "0.2", "10", "16"), _CLAUDE_4, thinks=True),
        _row("claude-haiku-4-5", _HAIKU, sixty_four, _price("1", "5", "0.1", "1.25", "2"), _CLAUDE_4),
        _row("claude-haiku-5-5", _HAIKU, (100_000, 64_000), haiku_55, _CLAUDE_4, thinks=True),
        # No longer served; the vendor never had a Haiku 4.0.
        _row("claude-opus-4-1", _OPUS, (200_000, 32_000), opus_4, _CLAUDE_4, retired=True, retires_on="2026-08-05"),
        _row("claude-opus-4-0", _OPUS, (200_000, 32_000), opus_4, _CLAUDE_4, retired=True, retires_on="2026-06-15"),
        _row("claude-sonnet-4-0", _SONNET, sixty_four, sonnet_4, _CLAUDE_4, retired=True, retires_on="2026-06-15"),
        _row(
            "claude-3-5-sonnet-latest",
            _SONNET,
            (200_000, 8192),
            sonnet_4,
            _CLAUDE_35,
            retired=True,
            retires_on="2025-10-28",
        ),
        _row(
            "claude-3-5-haiku-latest",
            _HAIKU,
            (200_000, 8192),
            _price("0.8", "4", "0.08", "1", "1.6"),
            _CLAUDE_35,
            retired=True,
            retires_on="2026-02-19",
        ),
        _row("claude-3-opus-latest", _OPUS, old, opus_4, _CLAUDE_3, retired=True, retires_on="2026-01-05"),
        _row(
            "claude-3-haiku-20240307",
            _HAIKU,
            old,
            _price("0.25", "1.25", "0.03", "0.3", "0.5"),
            _CLAUDE_3,
            retired=True,
        ),
    )


def _openai() -> tuple[ModelRow, ...]:
    # Above 272,000 input tokens the vendor charges twice as much.
    tier, four_hundred, million = (272_000, 128_000), (400_000, 128_000), (1_000_000, 32_768)
    soon, next_year, spring = "2026-12-11", "2027-01-14", "2027-04-01"
    return (
        _row("gpt-6-astra", _ASTRA, tier, _price("10", "50", "1", "12.5"), _GPT_6, thinks=True),
        _row("gpt-6.1-sol", _GPT, tier, _price("2", "10", "0.1", "2.5"), _GPT_6, thinks=True),
        _row("gpt-6.1-terra", _GPT, tier, _price("1", "5", "0.05", "1.25"), _GPT_6, thinks=True),
        _row("gpt-6-sol", _GPT, tier, _price("2", "10", "0.2", "2.5"), _GPT_6, thinks=True),
        _row("gpt-6-luna", _MINI, tier, _price("0.1", "0.5", "0.01", "0.125"), _GPT_6, thinks=True),
        _row("gpt-5.6-sol", _GPT, tier, _price("4", "20", "0.4", "5"), _GPT_5, thinks=True),
        _row("gpt-5.6-terra", _GPT, tier, _price("2", "12", "0.2", "2.5"), _GPT_5, thinks=True),
        _row("gpt-5.6-luna", _MINI, tier, _price("0.2", "1.2", "0.02", "0.25"), _GPT_5, thinks=True),
        _row("gpt-5.5", _GPT, tier, _price("5", "30", "0.5"), _GPT_5, thinks=True),
        _row("gpt-5.4", _GPT, tier, _price("2.5", "15", "0.25"), _GPT_5, thinks=True),
        _row("gpt-5.4-mini", _MINI, four_hundred, _price("0.75", "4.5", "0.075"), _GPT_5, thinks=True),
        _row("gpt-5.2", _GPT, four_hundred, _price("1.75", "14", "0.175"), _GPT_5, thinks=True),
        _row("gpt-5.1", _GPT, four_hundred, _price("1.25", "10", "0.125"), _GPT_5, thinks=True, retires_on=spring),
        _row("gpt-5", _GPT, four_hundred, _price("1.25", "10", "0.125"), _GPT_5, thinks=True, retires_on=soon),
        _row("gpt-5-mini", _MINI, four_hundred, _price("0.25", "2", "0.025"), _GPT_5, thinks=True, retires_on=soon),
        _row("gpt-5-nano", _NANO, four_hundred, _price("0.05", "0.4", "0.005"), _GPT_5, thinks=True, retires_on=soon),
        _row("o3", _GPT, (200_000, 100_000), _price("2", "8", "0.5"), _GPT_5, thinks=True, retires_on=soon),
        _row("gpt-4.1", _GPT, million, _price("2", "8", "0.5"), _GPT_4O, retires_on=next_year),
        _row("gpt-4.1-mini", _MINI, million, _price("0.4", "1.6", "0.1"), _GPT_4O, retires_on=next_year),
        _row("gpt-4o", _GPT, (128_000, 16_384), _price("2.5", "10", "1.25"), _GPT_4O, retires_on=next_year),
        _row("gpt-4o-mini", _MINI, (128_000, 16_384), _price("0.15", "0.6", "0.075"), _GPT_4O, retires_on=next_year),
        # No longer served.
        _row(
            "gpt-4-turbo",
            _GPT,
            (128_000, 4096),
            _price("10", "30"),
            _GPT_4_TURBO,
            retired=True,
            retires_on="2026-10-23",
        ),
    )


def built_in() -> Mapping[str, ProviderRow]:
    """Returns the providers known by name, with all their models."""
    return MappingProxyType(
        {
            "anthropic": ProviderRow(
                name="anthropic",
                wire="anthropic",
                base_url="https://api.anthropic.com/v1",
                key_variables=("ANTHROPIC_API_KEY",),
                models=_anthropic(),
            ),
            "openai": ProviderRow(
                name="openai",
                wire="openai",
                base_url="https://api.openai.com/v1",
                key_variables=("OPENAI_API_KEY",),
                models=_openai(),
            ),
        }
    )
