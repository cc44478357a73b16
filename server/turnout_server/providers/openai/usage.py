"""Reads what an answer of the openai wire says was used, and what it cost, wherever a vendor puts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout_server.core.chat import UsageReported
from turnout_server.core.model import Usage
from turnout_server.providers.counts import cost_usd, token_count

TICKS_PER_USD = 10_000_000_000
"""The unit of xAI's `cost_in_usd_ticks`."""


def stated_usage(chunk: Mapping[str, Any], choices: Any) -> Any:
    """Returns the usage of a chunk: beside the choices, in the first choice (Kimi), in `x_groq`; None without one."""
    usage = chunk.get("usage")
    if not usage and choices:
        usage = choices[0].get("usage")
    if not usage and chunk.get("x_groq"):
        usage = chunk["x_groq"].get("usage")
    return usage


def read_usage(usage: Any) -> UsageReported | None:
    """Returns what the usage says; None where it counts no tokens yet. A malformed one raises whatever it does."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    asked, answered = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    if asked is None and answered is None:
        return None
    reasoning = _first(completion.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    if answered is not None and reasoning and usage.get("total_tokens") == (asked or 0) + answered + reasoning:
        # Some count the reasoning apart, as only their sum shows; Usage has it within the output.
        answered += reasoning
    return UsageReported(
        usage=Usage(
            input_tokens=asked,
            output_tokens=answered,
            cached_input_tokens=_first(
                prompt.get("cached_tokens"),
                usage.get("cached_tokens"),
                usage.get("num_cached_tokens"),
                usage.get("prompt_cache_hit_tokens"),
            ),
            cache_write_tokens=token_count(prompt.get("cache_write_tokens")),
            reasoning_tokens=reasoning,
            # Most say that there is no sound where there is none.
            audio_input_tokens=token_count(prompt.get("audio_tokens")) or None,
        ),
        cost_usd=_cost_usd(usage),
    )


def _cost_usd(usage: Mapping[str, Any]) -> float | None:
    """OpenRouter's `cost` (its credits are USD), and xAI's ticks.

    Where OpenRouter calls a vendor with the customer's own key, its cost is its fee alone: the vendor's bill comes on
    top.
    """
    cost, ticks = cost_usd(usage.get("cost")), usage.get("cost_in_usd_ticks")
    if cost is not None:
        vendors = cost_usd((usage.get("cost_details") or {}).get("upstream_inference_cost"))
        return cost + vendors if usage.get("is_byok") is True and vendors is not None else cost
    return cost_usd(ticks / TICKS_PER_USD) if type(ticks) is int else None


def _first(*values: Any) -> int | None:
    return next((count for count in map(token_count, values) if count is not None), None)
