"""What attempts used and cost: as the provider reported it, else estimated from what went over the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from turnout_server.core.call import AttemptRecord
from turnout_server.core.chat import Delta, ReasoningDelta, SignatureDelta, TextDelta, ToolCallDelta
from turnout_server.core.model import Usage, UsageSource
from turnout_server.core.tokens import estimate_input_tokens


def delta_bytes(delta: Delta) -> int:
    """Returns the UTF-8 bytes of content that one delta brings; a signature is opaque and counts as it stands."""
    match delta:
        case TextDelta(text=text):
            return _size(text)
        case ReasoningDelta():
            return _size(delta.text) + len(delta.redacted_data or b"")
        case ToolCallDelta():
            return _size(delta.name) + _size(delta.arguments_fragment)
        case SignatureDelta(signature=signature):
            return len(signature)


def settled_usage(
    reported: Usage | None,
    *,
    sent_tokens: int | None,
    received_bytes: int,
    tokens_per_byte: float,
    possibly_billed: bool,
    complete: bool,
) -> Usage | None:
    """Returns an attempt's usage: what was reported, the rest estimated; None where nothing can be billed.

    `sent_tokens` is the estimate of the prompt. Only the report of a `complete` answer that counts both sides is taken
    as it stands. In a stream that was cut the last count is of some moment before (Anthropic's is of the beginning: one
    token), so the output is at least what came; that is an estimate.
    """
    if reported is None and not possibly_billed:
        return None
    estimated_output = estimate_input_tokens(received_bytes, tokens_per_byte)
    if reported is None:
        return Usage(input_tokens=sent_tokens, output_tokens=estimated_output, source=UsageSource.ESTIMATED)
    if complete and reported.input_tokens is not None and reported.output_tokens is not None:
        return reported
    if reported.output_tokens is None:
        output_tokens = estimated_output
    else:
        output_tokens = reported.output_tokens if complete else max(reported.output_tokens, estimated_output)
    return replace(
        reported,
        input_tokens=sent_tokens if reported.input_tokens is None else reported.input_tokens,
        output_tokens=output_tokens,
        source=UsageSource.ESTIMATED,
    )


def total_usage(attempts: Iterable[AttemptRecord]) -> Usage | None:
    """Returns the sum over attempts; a count unknown in one of them is unknown in the sum. None without any usage."""
    usages = [attempt.usage for attempt in attempts if attempt.usage is not None]
    if not usages:
        return None
    return Usage(
        input_tokens=_sum(usage.input_tokens for usage in usages),
        output_tokens=_sum(usage.output_tokens for usage in usages),
        cached_input_tokens=_sum(usage.cached_input_tokens for usage in usages),
        cache_write_tokens=_sum(usage.cache_write_tokens for usage in usages),
        cache_write_1h_tokens=_sum(usage.cache_write_1h_tokens for usage in usages),
        reasoning_tokens=_sum(usage.reasoning_tokens for usage in usages),
        audio_input_tokens=_sum(usage.audio_input_tokens for usage in usages),
        cached_audio_input_tokens=_sum(usage.cached_audio_input_tokens for usage in usages),
        source=UsageSource.REPORTED
        if all(usage.source is UsageSource.REPORTED for usage in usages)
        else UsageSource.ESTIMATED,
    )


def total_cost_nano_usd(attempts: Iterable[AttemptRecord]) -> int | None:
    """Returns the sum over attempts, None where any part is unknown; an attempt that cannot be billed costs nothing."""
    return _sum(attempt.cost_nano_usd for attempt in attempts)


def _sum(parts: Iterable[int | None]) -> int | None:
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
