"""What the simulated providers charge: their own books, kept apart from the sidecar's, to be compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnout_server.core.fleet import Price

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """From `at` (virtual seconds) on a target costs so many times as much; its provider's books change with it."""

    at: float
    target: str
    times: int


@dataclass(slots=True, kw_only=True)
class Bill:
    """One request as its provider has it in its books. Tokens grow while an answer is sent."""

    attempt_id: str
    pod: str
    target: str
    at: float
    price: Price
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    complete: bool = False
    """Whether the whole answer was sent, its usage included."""

    @property
    def nano_usd(self) -> int:
        """What it charges: the sum over the three classes of tokens, rounded half up once."""
        price = self.price
        cached_rate = price.cached_input_per_million
        assert cached_rate is not None
        total = (self.input_tokens - self.cached_tokens) * price.input_per_million
        total += self.cached_tokens * cached_rate + self.output_tokens * price.output_per_million
        return (2 * total + MILLION) // (2 * MILLION)

    @property
    def charged(self) -> bool:
        """Whether anything is charged."""
        return self.input_tokens > 0 or self.output_tokens > 0


def list_price(rank: int, times: int = 1) -> Price:
    """Returns what the target of a rank costs: the later ones are dearer."""
    return Price(
        input_per_million=(1 + rank) * 1_000_000_000 * times,
        output_per_million=(2 + rank) * 1_000_000_000 * times,
        cached_input_per_million=(1 + rank) * 250_000_000 * times,
    )


def price_at(target: str, rank: int, changes: Sequence[PriceChange], now: float) -> Price:
    """Returns the price of a target at a moment."""
    times = 1
    for change in changes:
        if change.target == target and change.at <= now:
            times *= change.times
    return list_price(rank, times)
