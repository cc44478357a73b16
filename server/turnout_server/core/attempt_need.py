"""What one attempt at one target should need in tokens: the prompt at worst, the answer as usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget_need import worst_input_tokens
from turnout_server.core.expectation import ASSUMED_INPUT_TOKENS
from turnout_server.core.tokens import estimate_input_tokens

if TYPE_CHECKING:
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import RequestProfile
    from turnout_server.core.tokens import OutputLengths, TokenRatios


class AttemptNeed(NamedTuple):
    """`input_tokens` is the most that the prompt should have, `expected_tokens` what an answer of its task has."""

    input_tokens: int
    expected_tokens: int


def attempt_need(spec: TargetSpec, profile: RequestProfile, ratios: TokenRatios, lengths: OutputLengths) -> AttemptNeed:
    """Returns what an attempt needs by what is known now; the caller's own output limit is not in it."""
    provider, model = spec.target.provider, spec.target.model
    tokens = _input_tokens(profile, ratios.ratio(provider, model))
    return AttemptNeed(
        worst_input_tokens(tokens, counted=profile.input_tokens is not None),
        round(lengths.expected(profile.task, provider, model)),
    )


def _input_tokens(profile: RequestProfile, tokens_per_byte: float) -> int:
    """Returns the prompt's tokens as `Expectation` has them for the one target."""
    if profile.input_tokens is not None:
        return profile.input_tokens
    byte_count = profile.input_bytes
    if byte_count is None and profile.text_hint:
        byte_count = len(profile.text_hint.encode(errors="replace"))
    if byte_count is None:
        return profile.extra_input_tokens or ASSUMED_INPUT_TOKENS
    return estimate_input_tokens(byte_count, tokens_per_byte) + profile.extra_input_tokens
