"""The most that a request can cost: what is reserved before an attempt, and what must fit into a budget or a cap.

Worst case: every input token at the dearest rate that input has, every output token at the dearest of output, the
whole rounded up. The prompt is an estimate where nobody has counted it, so a quarter and the vendor's framing are
added. What it costs in the end is settled later; what a provider bills beyond this is charged in full.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.cost import PER_MILLION, price_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.fleet import Price, TargetSpec

INPUT_MARGIN = 1.25
"""A prompt's tokens per byte differ between texts by about a fifth once the model's ratio is learned."""
FRAMING_TOKENS = 64
"""What vendors put around messages and tools; a few tokens for each, most requests have few."""
UNKNOWN_OUTPUT_TOKENS = 4096
"""Taken, and then sent as the limit, where the catalog does not know the longest answer of a model."""


class Rates(NamedTuple):
    """The dearest rates of a price or of a fleet, nano-USD per million tokens."""

    input_per_million: int
    output_per_million: int

    def need(self, input_tokens: int, output_tokens: int) -> int:
        """Returns nano-USD, rounded up."""
        return -(-(input_tokens * self.input_per_million + output_tokens * self.output_per_million) // PER_MILLION)

    def affordable_output(self, input_tokens: int, left_nano_usd: int) -> int:
        """Returns how long an answer so much pays for beside the input; below 0 where not even that is paid for.

        To be asked only where output costs something.
        """
        return (left_nano_usd * PER_MILLION - input_tokens * self.input_per_million) // self.output_per_million


class FleetRates(NamedTuple):
    """The dearest rates of each target by its place in the fleet, and of all of them; 0 where a price is unknown."""

    dearest: Rates
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


NO_RATES = FleetRates(Rates(0, 0), (), ())


def worst_input_tokens(input_tokens: int, *, counted: bool) -> int:
    """Returns the most tokens that a prompt should have; `counted` says that the number is the caller's own count."""
    return input_tokens if counted else ceil(input_tokens * INPUT_MARGIN) + FRAMING_TOKENS


def worst_rates(price: Price, input_tokens: int) -> Rates:
    """Returns the dearest rates of input and output that hold for a prompt of so many tokens or fewer."""
    found = [price_for(price, input_tokens), price] if price.tiers else [price]
    return Rates(max(map(_input_rate, found)), max(map(_output_rate, found)))


def fleet_rates(specs: Iterable[TargetSpec]) -> FleetRates:
    """Returns rates that the targets of a fleet do not exceed, however long the prompt."""
    prices = [(spec.price, *(tier.price for tier in spec.price.tiers)) if spec.price else () for spec in specs]
    inputs = tuple(max(map(_input_rate, each), default=0) for each in prices)
    outputs = tuple(max(map(_output_rate, each), default=0) for each in prices)
    return FleetRates(Rates(max(inputs, default=0), max(outputs, default=0)), inputs, outputs)


def output_bound(spec: TargetSpec, asked: int | None, input_tokens: int) -> int:
    """Returns how long an answer can become: what was asked for, else the model's most, as far as its window allows."""
    most = UNKNOWN_OUTPUT_TOKENS if spec.max_output_tokens is None else spec.max_output_tokens
    if asked is not None:
        return asked if spec.max_output_tokens is None else min(asked, most)
    if spec.context_window_tokens is None:
        return most
    return max(1, min(most, spec.context_window_tokens - input_tokens))


def least_output(spec: TargetSpec, asked: int | None, expected_tokens: int) -> int:
    """Returns the shortest limit that makes sense: what was asked for, else what an answer should need.

    A lower one would cut most answers, for which money would be spent all the same.
    """
    if asked is not None:
        return output_bound(spec, asked, 0)
    return max(1, expected_tokens if spec.max_output_tokens is None else min(expected_tokens, spec.max_output_tokens))


def least_need(
    price: Price,
    spec: TargetSpec,
    *,
    input_tokens: int,
    asked: int | None,
    expected_tokens: int,
    may_lower: bool = False,
    at_most: int | None = None,
) -> int:
    """Returns the least that must be left for an attempt, nano-USD: what `claim` needs where it lowers the limit."""
    least = least_output(spec, None if may_lower else asked, expected_tokens)
    output_tokens = min(output_bound(spec, asked, input_tokens), least)
    if at_most is not None:
        output_tokens = min(output_tokens, at_most)
    return worst_rates(price, input_tokens).need(input_tokens, output_tokens)


def lowered_output(
    price: Price, spec: TargetSpec, *, input_tokens: int, asked: int | None, expected_tokens: int, left_nano_usd: int
) -> int:
    """Returns the longest answer under a limit that may lower what was asked for, with so much left of it.

    At least what the answer should need: where too little is left even for that, no attempt is made.
    """
    rates = worst_rates(price, input_tokens)
    bound = output_bound(spec, asked, input_tokens)
    if rates.need(input_tokens, bound) <= left_nano_usd or not rates.output_per_million:
        return bound
    least = min(bound, least_output(spec, None, expected_tokens))
    return max(least, rates.affordable_output(input_tokens, left_nano_usd))


class Claim(NamedTuple):
    """What one attempt must have reserved, and the output limit that makes it enough.

    `output_tokens` None: no limit need be sent, the provider's own is within what is reserved.
    """

    nano_usd: int
    output_tokens: int | None


def claim(
    spec: TargetSpec,
    *,
    input_tokens: int,
    asked: int | None,
    expected_tokens: int,
    left_nano_usd: int,
    may_lower: bool = False,
    at_most: int | None = None,
) -> Claim | None:
    """Returns what an attempt needs; None where what is left is not enough, or the price is unknown.

    `input_tokens` is the worst case already (`worst_input_tokens`), `asked` the caller's output limit. Without one the
    model's longest answer is reserved; where that does not fit, the limit is lowered until it does, but not below what
    the answer should need. What the caller asked for is lowered in the same way only where it `may_lower`. `at_most` is
    a limit that holds for other reasons.
    """
    if spec.price is None:
        return None
    rates = worst_rates(spec.price, input_tokens)
    bound = output_bound(spec, asked, input_tokens)
    if at_most is not None:
        bound = min(bound, at_most)
    whole = rates.need(input_tokens, bound)
    if whole <= left_nano_usd:
        # No answer is longer than the model can write. What the window leaves rests on an estimate, so it is sent.
        longest = bound == spec.max_output_tokens or not rates.output_per_million
        unbounded = asked is None and at_most is None and longest
        return Claim(whole, None if unbounded else bound)
    if (asked is not None and not may_lower) or not rates.output_per_million:
        return None
    affordable = rates.affordable_output(input_tokens, left_nano_usd)
    if affordable < min(bound, least_output(spec, None, expected_tokens)):
        return None
    return Claim(rates.need(input_tokens, affordable), affordable)


def _input_rate(price: Price) -> int:
    rates = (
        price.cached_input_per_million,
        price.cache_write_per_million,
        price.cache_write_1h_per_million,
        price.audio_input_per_million,
        price.cached_audio_input_per_million,
    )
    return max([price.input_per_million, *(rate for rate in rates if rate is not None)])


def _output_rate(price: Price) -> int:
    reasoning = price.reasoning_per_million
    return price.output_per_million if reasoning is None else max(price.output_per_million, reasoning)
