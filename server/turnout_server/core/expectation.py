"""What one request will probably be at one target: tokens in and out, seconds, nano-USD, before it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.cost import expected_cost_nano_usd
from turnout_server.core.tokens import OutputLengths, TokenRatios, estimate_input_tokens

if TYPE_CHECKING:
    from turnout_server.core.model import RequestProfile
    from turnout_server.core.readings import TargetReading

ASSUMED_INPUT_TOKENS = 1000
"""Taken to compare targets by where nothing is known of the prompt; never shown, the cost is then shown as unknown."""


class Expected(NamedTuple):
    """What to expect of one target. `cost_nano_usd` is None where the price is unknown."""

    input_tokens: int
    output_tokens: int
    first_token_seconds: float
    latency_seconds: float
    cost_nano_usd: int | None


class Expectation:
    """The request's side of every prediction, read once so that asking it for one target more is cheap."""

    __slots__ = ("_byte_count", "_cap", "_extra", "_input", "_lengths", "_ratios", "_task", "input_known")

    def __init__(self, profile: RequestProfile, ratios: TokenRatios, lengths: OutputLengths) -> None:
        self._ratios = ratios
        self._lengths = lengths
        self._task = profile.task
        self._cap = profile.max_output_tokens
        self._input = profile.input_tokens
        self._extra = profile.extra_input_tokens
        self._byte_count = profile.input_bytes
        if self._byte_count is None and profile.text_hint:
            self._byte_count = len(profile.text_hint.encode(errors="replace"))
        self.input_known = self._input is not None or self._byte_count is not None or self._extra > 0
        """Whether anything at all is known of the prompt's length."""

    def of(self, target: TargetReading, now: float) -> Expected:
        """Returns what to expect of the target: the caller's count of tokens, else bytes by the model's own ratio."""
        spec = target.spec
        provider, model = spec.target.provider, spec.target.model
        input_tokens = self._input
        if input_tokens is None:
            if self._byte_count is not None:
                input_tokens = (
                    estimate_input_tokens(self._byte_count, self._ratios.ratio(provider, model)) + self._extra
                )
            else:
                input_tokens = self._extra or ASSUMED_INPUT_TOKENS
        length = self._lengths.expected(self._task, provider, model)
        if self._cap is not None and self._cap < length:
            length = self._cap
        if spec.max_output_tokens is not None and spec.max_output_tokens < length:
            length = spec.max_output_tokens
        output_tokens = round(length)
        first_token, latency = target.latency.both(input_tokens, output_tokens, now)
        cost = expected_cost_nano_usd(spec.price, input_tokens=input_tokens, output_tokens=output_tokens)
        return Expected(input_tokens, output_tokens, first_token, latency, cost)
