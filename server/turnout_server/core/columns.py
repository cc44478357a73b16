"""What does not change about all targets, as columns of plain numbers: made once a fleet, read by each decision."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from turnout_server.core.budget_need import fleet_rates
from turnout_server.core.cost import PER_MILLION

if TYPE_CHECKING:
    from turnout_server.core.budget_need import FleetRates
    from turnout_server.core.fleet import Fleet

T = TypeVar("T")

COST_GRAIN_NANO_USD = 10_000.0
"""Differences of a thousandth of a cent do not matter; so a free target does not make all others worthless."""
QUALITY_SCALE = 100.0


class Facts:
    """Columns in the order of the fleet. Costs are floats here, in nano-USD; what is told is worked out exactly."""

    __slots__ = (
        "_rates",
        "grains",
        "input_rates",
        "max_outputs",
        "names",
        "output_rates",
        "qualities",
        "ranks",
        "specs",
        "tenants",
        "tiered",
        "windows",
    )

    def __init__(self, fleet: Fleet) -> None:
        specs = self.specs = fleet.specs
        prices = [spec.price for spec in specs]
        self.input_rates = [0.0 if price is None else price.input_per_million / PER_MILLION for price in prices]
        self.output_rates = [0.0 if price is None else price.output_per_million / PER_MILLION for price in prices]
        self.grains = [inf if price is None else COST_GRAIN_NANO_USD for price in prices]
        """What is added to each cost: without a price, it is infinite."""
        self.tiered = tuple(index for index, price in enumerate(prices) if price is not None and price.tiers)
        """Those whose price depends on the length of the prompt."""
        self.max_outputs = [inf if spec.max_output_tokens is None else spec.max_output_tokens for spec in specs]
        self.windows = [inf if spec.context_window_tokens is None else spec.context_window_tokens for spec in specs]
        self.qualities = [
            0.0 if spec.quality is None else min(1.0, max(0.0, spec.quality / QUALITY_SCALE)) for spec in specs
        ]
        """The quality factor of each; 0 where unknown."""
        self.names = [spec.name or str(spec.target) for spec in specs]
        self.ranks = [spec.provider_rank for spec in specs]
        self.tenants = frozenset[str]().union(*(each.tenants for spec in specs for each in spec.credentials))
        """Tenants that keys are bound to."""
        self._rates: FleetRates | None = None

    @property
    def rates(self) -> FleetRates:
        """The dearest rates; worked out when they are first asked for."""
        if self._rates is None:
            self._rates = fleet_rates(self.specs)
        return self._rates


class Selection:
    """Some of the targets, by their places in the fleet, in its order; `of` takes their part of a column."""

    __slots__ = ("_take", "indexes", "last_rank")

    def __init__(self, indexes: Sequence[int], facts: Facts) -> None:
        self.indexes = tuple(indexes)
        count = len(self.indexes)
        self._take: Any = None if count in (0, 1, len(facts.specs)) else itemgetter(*self.indexes)
        if not count:
            self._take = _nothing
        elif count == 1 and len(facts.specs) > 1:
            only = self.indexes[0]
            self._take = lambda column: (column[only],)
        self.last_rank = max(self.of(facts.ranks), default=0)
        """The provider's rank of the last of them in the PRIORITY order."""

    def __len__(self) -> int:
        return len(self.indexes)

    def place(self, index: int) -> int | None:
        """Returns the place of a target among those selected; None where it is not one of them."""
        place = bisect_left(self.indexes, index)
        return place if place < len(self.indexes) and self.indexes[place] == index else None

    def of(self, column: Sequence[T]) -> Sequence[T]:
        """Returns the part of a column that belongs to these targets; the column itself where they are all."""
        taken: Sequence[T] = column if self._take is None else self._take(column)
        return taken


def _nothing(_column: Sequence[T]) -> Sequence[T]:
    return ()
