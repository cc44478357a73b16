"""What tokens cost: integer nano-USD, each token charged in exactly one class, unknown staying unknown."""

from __future__ import annotations

from collections.abc import Sequence

from turnout_server.core.fleet import Price
from turnout_server.core.model import Usage

PER_MILLION = 1_000_000
HALF_MILLION = PER_MILLION // 2


def cost_nano_usd(usage: Usage, price: Price | None) -> int | None:
    """Returns what the usage costs by the catalog, in nano-USD, rounded half up once over the sum.

    None where the price, the input or the output is unknown. A class that the usage does not tell apart is charged as
    the class it is part of. A part larger than its whole (an inconsistent report) is cut to the whole.
    """
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    input_tokens = max(0, usage.input_tokens)
    output_tokens = max(0, usage.output_tokens)
    price = price_for(price, input_tokens)
    cached = _part(usage.cached_input_tokens, input_tokens)
    written = _part(usage.cache_write_tokens, input_tokens - cached)
    written_1h = _part(usage.cache_write_1h_tokens, written)
    reasoning = _part(usage.reasoning_tokens, output_tokens)
    plain = input_tokens - cached - written
    cached_audio = _part(usage.cached_audio_input_tokens, cached)
    audio = _part(_part(usage.audio_input_tokens, input_tokens) - cached_audio, plain)

    input_rate = price.input_per_million
    cached_rate = _rate(price.cached_input_per_million, input_rate)
    write_rate = _rate(price.cache_write_per_million, input_rate)
    write_1h_rate = _rate(price.cache_write_1h_per_million, write_rate)
    reasoning_rate = _rate(price.reasoning_per_million, price.output_per_million)
    audio_rate = _rate(price.audio_input_per_million, input_rate)
    cached_audio_rate = _rate(price.cached_audio_input_per_million, cached_rate)
    total = (
        (plain - audio) * input_rate
        + audio * audio_rate
        + (cached - cached_audio) * cached_rate
        + cached_audio * cached_audio_rate
        + (written - written_1h) * write_rate
        + written_1h * write_1h_rate
        + (output_tokens - reasoning) * price.output_per_million
        + reasoning * reasoning_rate
    )
    return _per_million(total)


def settled_cost_nano_usd(reported: int | None, usage: Usage | None, price: Price | None) -> int | None:
    """Returns what an attempt cost: the provider's own figure where it gives one, else the catalog's, else None."""
    if reported is not None:
        return reported
    return None if usage is None else cost_nano_usd(usage, price)


def expected_cost_nano_usd(
    price: Price | None, *, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0
) -> int | None:
    """Returns what a request should cost, in nano-USD; None where the price is unknown.

    The short form of `cost_nano_usd` for a request that is not yet made: no cache writes, no reasoning apart.
    """
    if price is None:
        return None
    if price.tiers:
        price = price_for(price, input_tokens)
    total = input_tokens * price.input_per_million + output_tokens * price.output_per_million
    if cached_input_tokens and price.cached_input_per_million is not None:
        cached = min(cached_input_tokens, input_tokens)
        total -= cached * (price.input_per_million - price.cached_input_per_million)
    return _per_million(total)


def expected_costs_nano_usd(
    prices: Sequence[Price | None], input_tokens: int, output_tokens: Sequence[int]
) -> list[int | None]:
    """Returns what one request should cost at several targets, each as `expected_cost_nano_usd`, without any cache."""
    return [
        None
        if price is None
        else (input_tokens * price.input_per_million + output * price.output_per_million + HALF_MILLION) // PER_MILLION
        if not price.tiers
        else expected_cost_nano_usd(price, input_tokens=input_tokens, output_tokens=output)
        for price, output in zip(prices, output_tokens, strict=True)
    ]


def price_for(price: Price, input_tokens: int) -> Price:
    """Returns what holds for a request of so much input: the dearest tier that it exceeds, else the price itself.

    Vendors charge all tokens of a long request by its tier, those of the output too, not only what is above.
    """
    found = price
    for tier in price.tiers:
        if input_tokens <= tier.above_input_tokens:
            break
        found = tier.price
    return found


def _part(tokens: int | None, whole: int) -> int:
    return min(max(0, tokens or 0), whole)


def _rate(rate: int | None, of_whole: int) -> int:
    return of_whole if rate is None else rate


def _per_million(total: int) -> int:
    return (total + HALF_MILLION) // PER_MILLION
