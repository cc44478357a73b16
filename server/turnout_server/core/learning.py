"""What a complete answer teaches about the next one: how long it takes, how many tokens go in and come out."""

from __future__ import annotations

from math import isfinite

from turnout_server.core.model import Outcome, UsageSource
from turnout_server.core.target_state import TargetState
from turnout_server.core.tokens import OutputLengths, TokenRatios


def learn(target: TargetState, outcome: Outcome, lengths: OutputLengths, ratios: TokenRatios, now: float) -> None:
    """Teaches latency from any complete answer; lengths and ratios from counts that the provider itself reported."""
    usage = outcome.usage
    output_tokens = None if usage is None else usage.output_tokens
    uncached = uncached_input_tokens(outcome)
    latency = outcome.latency_seconds
    if latency is not None and isfinite(latency) and latency >= 0.0:
        target.latency.observe(
            time_to_first_token_seconds=outcome.time_to_first_token_seconds,
            latency_seconds=latency,
            uncached_input_tokens=uncached,
            output_tokens=output_tokens,
            streamed=outcome.streamed,
            now=now,
        )
        if output_tokens is not None:
            spec = target.spec
            prior = spec.latency_prior_seconds + spec.seconds_per_output_token_prior * max(0, output_tokens)
            target.slowness.observe(latency / max(prior, 1e-6), now)
    if usage is None or usage.source is not UsageSource.REPORTED:
        return
    provider, model = target.spec.target.provider, target.spec.target.model
    if output_tokens is not None and not outcome.off_path:
        # A trial of our own asks for one token: that says nothing of the answers that callers get.
        lengths.observe(outcome.task, provider, model, output_tokens)
    if usage.input_tokens is not None and outcome.input_bytes is not None:
        ratios.observe(provider, model, byte_count=outcome.input_bytes, input_tokens=usage.input_tokens)


def uncached_input_tokens(outcome: Outcome) -> int:
    """Returns what had to be read anew, by the provider's count, else by our estimate, else nothing."""
    usage = outcome.usage
    if usage is not None and usage.input_tokens is not None:
        return max(0, usage.input_tokens - max(0, usage.cached_input_tokens or 0))
    return max(0, outcome.estimated_input_tokens or 0)
