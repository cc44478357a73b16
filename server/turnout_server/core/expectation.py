"""What one request will probably be at the targets: tokens in and out, seconds, nano-USD, before anybody is called.

For all targets at once in columns, which deciding needs, and for one, with the cost worked out exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.cost import expected_cost_nano_usd, expected_costs_nano_usd
from turnout_server.core.latency import PREFILL_SHARE_PER_TOKEN
from turnout_server.core.tokens import estimate_input_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.affinity import Kept
    from turnout_server.core.columns import Facts, Selection
    from turnout_server.core.model import RequestProfile
    from turnout_server.core.outputs import Outputs

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
    """One request's predictions, by what was known when it was made. It holds nothing of the request's content."""

    __slots__ = ("_cap", "_facts", "_input", "_inputs", "_kept", "_outputs", "input_known", "vitals")

    def __init__(self, profile: RequestProfile, facts: Facts, outputs: Outputs, kept: Kept | None = None) -> None:
        vitals = outputs.vitals
        self.vitals = vitals
        self._facts = facts
        self._outputs = outputs
        self._kept = kept
        """The target that should have a part of the prompt cached."""
        cap = profile.max_output_tokens
        self._cap = None if cap is None or cap >= outputs.longest else cap
        byte_count = profile.input_bytes
        if byte_count is None and profile.text_hint:
            byte_count = len(profile.text_hint.encode(errors="replace"))
        given, extra = profile.input_tokens, profile.extra_input_tokens
        self.input_known = given is not None or byte_count is not None or extra > 0
        """Whether anything at all is known of the prompt's length."""
        self._inputs: list[int] | None = None
        """The prompt's tokens by target where their models make a different number of them; else `_input` is it."""
        if given is not None:
            self._input = given
        elif byte_count is None:
            self._input = extra or ASSUMED_INPUT_TOKENS
        elif vitals.ratio is not None:
            self._input = estimate_input_tokens(byte_count, vitals.ratio) + extra
        else:
            self._inputs = [estimate_input_tokens(byte_count, ratio) + extra for ratio in vitals.tokens_per_byte]
            self._input = max(self._inputs, default=0)

    @property
    def most_input_tokens(self) -> int:
        """The prompt's tokens at the target whose model makes the most of them."""
        return self._input

    @property
    def most_output_tokens(self) -> int:
        """At least the tokens of the longest answer to expect."""
        return self._outputs.longest if self._cap is None else self._cap

    def input_tokens(self, index: int) -> int:
        """Returns the prompt's tokens: the caller's count, else bytes by the model's own ratio."""
        return self._input if self._inputs is None else self._inputs[index]

    def of(self, index: int) -> Expected:
        """Returns what to expect of one target."""
        input_tokens = self._input if self._inputs is None else self._inputs[index]
        output_tokens = self._outputs.lengths[index]
        if self._cap is not None and self._cap < output_tokens:
            output_tokens = self._cap
        vitals = self.vitals
        cached_tokens = 0 if self._kept is None else self.cached_tokens(index)
        first = vitals.first_seconds[index] * (1.0 + PREFILL_SHARE_PER_TOKEN * (input_tokens - cached_tokens))
        return Expected(
            input_tokens,
            output_tokens,
            first,
            first + vitals.token_seconds[index] * output_tokens,
            expected_cost_nano_usd(
                self._facts.specs[index].price,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_input_tokens=cached_tokens,
            ),
        )

    def latencies_and_costs(self, indexes: Sequence[int]) -> tuple[list[float], list[int | None]]:
        """Returns latency and cost of some targets, as `of` has them, for half of what asking for each takes."""
        if self._inputs is not None or self._kept is not None:
            each = list(map(self.of, indexes))
            return [expected.latency_seconds for expected in each], [expected.cost_nano_usd for expected in each]
        tokens, vitals, specs = self._input, self.vitals, self._facts.specs
        prefill = 1.0 + PREFILL_SHARE_PER_TOKEN * tokens
        lengths = [self._outputs.lengths[index] for index in indexes]
        if self._cap is not None:
            lengths = [min(length, self._cap) for length in lengths]
        firsts, rates = vitals.first_seconds, vitals.token_seconds
        return (
            [firsts[index] * prefill + rates[index] * length for index, length in zip(indexes, lengths, strict=True)],
            expected_costs_nano_usd([specs[index].price for index in indexes], tokens, lengths),
        )

    def cached_tokens(self, index: int) -> int:
        """Returns how much of the prompt a target should have cached: of a key's last target, what it learned to be."""
        kept = self._kept
        return 0 if kept is None or kept.target_index != index else int(kept.cached_share * self.input_tokens(index))

    def cached_share(self, index: int) -> float:
        """Returns that as a share of the prompt, 0 to 1."""
        kept = self._kept
        return 0.0 if kept is None or kept.target_index != index else kept.cached_share

    def cost(self, index: int, expected: Expected) -> float:
        """Returns what a request at one target is compared by: nano-USD plus the grain, infinite without a price.

        `expected` is `of` that target.
        """
        facts = self._facts
        price = facts.specs[index].price
        if price is not None and self._kept is not None and self._kept.target_index == index:
            return (expected.cost_nano_usd or 0) + facts.grains[index]
        if price is not None and price.tiers and expected.input_tokens > price.tiers[0].above_input_tokens:
            return (expected.cost_nano_usd or 0) + facts.grains[index]
        fixed = expected.output_tokens * facts.output_rates[index] + facts.grains[index]
        return expected.input_tokens * facts.input_rates[index] + fixed

    def columns(self, selection: Selection) -> tuple[list[float], list[float]]:
        """Returns cost (as `cost`) and latency of each target selected."""
        facts, outputs, vitals, take = self._facts, self._outputs, self.vitals, selection.of
        input_rates, first_seconds = take(facts.input_rates), take(vitals.first_seconds)
        fixed_costs: Sequence[float]
        fixed_seconds: Sequence[float]
        if self._cap is None:
            fixed_costs, fixed_seconds = take(outputs.fixed_costs), take(outputs.fixed_seconds)
        else:
            cap = self._cap
            # A comparison takes a third of what `min` does, and most requests have a cap.
            lengths = [tokens if tokens < cap else cap for tokens in take(outputs.lengths)]  # noqa: FURB136
            fixed_costs = [
                tokens * rate + grain
                for tokens, rate, grain in zip(lengths, take(facts.output_rates), take(facts.grains), strict=True)
            ]
            fixed_seconds = [
                tokens * seconds for tokens, seconds in zip(lengths, take(vitals.token_seconds), strict=True)
            ]
        if self._inputs is None:
            tokens = self._input
            prefill = 1.0 + PREFILL_SHARE_PER_TOKEN * tokens
            costs = [tokens * rate + fixed for rate, fixed in zip(input_rates, fixed_costs, strict=True)]
            latencies = [first * prefill + fixed for first, fixed in zip(first_seconds, fixed_seconds, strict=True)]
        else:
            inputs = take(self._inputs)
            costs = [
                tokens * rate + fixed for tokens, rate, fixed in zip(inputs, input_rates, fixed_costs, strict=True)
            ]
            latencies = [
                first * (1.0 + PREFILL_SHARE_PER_TOKEN * tokens) + fixed
                for tokens, first, fixed in zip(inputs, first_seconds, fixed_seconds, strict=True)
            ]
        if facts.tiered:
            self._price_by_length(selection, costs)
        place = None if self._kept is None else selection.place(self._kept.target_index)
        if place is not None:
            index = selection.indexes[place]
            expected = self.of(index)
            costs[place], latencies[place] = self.cost(index, expected), expected.latency_seconds
        return costs, latencies

    def first_tokens(self, selection: Selection) -> list[float]:
        """Returns the seconds to the first token of each target selected."""
        first_seconds = selection.of(self.vitals.first_seconds)
        if self._inputs is None:
            prefill = 1.0 + PREFILL_SHARE_PER_TOKEN * self._input
            firsts = [first * prefill for first in first_seconds]
        else:
            inputs = selection.of(self._inputs)
            firsts = [
                first * (1.0 + PREFILL_SHARE_PER_TOKEN * tokens)
                for tokens, first in zip(inputs, first_seconds, strict=True)
            ]
        place = None if self._kept is None else selection.place(self._kept.target_index)
        if place is not None:
            firsts[place] = self.of(selection.indexes[place]).first_token_seconds
        return firsts

    @property
    def slowest_first_token_seconds(self) -> float:
        """At least the seconds to the first token of the slowest of all targets."""
        return self.vitals.slowest_first_seconds * (1.0 + PREFILL_SHARE_PER_TOKEN * self._input)

    def _price_by_length(self, selection: Selection, costs: list[float]) -> None:
        for index in self._facts.tiered:
            price = self._facts.specs[index].price
            if price is not None and self.input_tokens(index) > price.tiers[0].above_input_tokens:
                place = selection.place(index)
                if place is not None:
                    costs[place] = self.cost(index, self.of(index))
