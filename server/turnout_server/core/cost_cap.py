"""What one call may cost in all: a cap, and what its attempts have left of it.

Before an attempt the most that it can cost is held (`budget_need`), by an output limit that makes it fit. Afterwards
counts what it cost, or what it may have cost where nobody was told.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget_need import INPUT_MARGIN, Claim, claim, least_need, worst_rates
from turnout_server.core.deadlines import thinks
from turnout_server.core.model import FailureKind, UsageSource

if TYPE_CHECKING:
    from turnout_server.core.attempt_need import AttemptNeed
    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import RequestProfile


ERROR_STATUS = 400
"""From here on an HTTP status says that there is no answer."""


class CostCap:
    """The cap of one call, nano-USD. Each attempt claims before it is made and is settled, or released, once."""

    __slots__ = ("_held", "_spent", "limit_nano_usd")

    def __init__(self, limit_nano_usd: int) -> None:
        self.limit_nano_usd = limit_nano_usd
        self._spent = 0
        self._held: dict[str, _Held] = {}

    @property
    def left_nano_usd(self) -> int:
        """What is left beside what was spent and what attempts under way hold."""
        held = sum(each.nano_usd for each in self._held.values())
        # A provider may bill more than the worst; what is free can be used all the same.
        return max(0, self.limit_nano_usd - self._spent - held)

    def affords(self, spec: TargetSpec, profile: RequestProfile, need: AttemptNeed) -> bool:
        """Whether enough is left for an attempt, as the filter has it that rejects with COST_LIMIT."""
        return spec.price is not None and self.left_nano_usd >= least_need(
            spec.price,
            spec,
            input_tokens=need.input_tokens,
            asked=profile.max_output_tokens,
            expected_tokens=need.expected_tokens,
            may_lower=True,
        )

    def claim(self, spec: TargetSpec, profile: RequestProfile, need: AttemptNeed, attempt_id: str) -> Claim | None:
        """Holds the most that an attempt can cost, and returns the output limit that makes it so.

        None where too little is left for what the answer should need, or where the price is unknown; nothing is held
        then.
        """
        found = claim(
            spec,
            input_tokens=need.input_tokens,
            asked=profile.max_output_tokens,
            expected_tokens=need.expected_tokens,
            left_nano_usd=self.left_nano_usd,
            may_lower=True,
        )
        if found is not None:
            silent = thinks(spec, profile.reasoning_effort)
            self._held[attempt_id] = _Held(found.nano_usd, spec, need.input_tokens, silent)
        return found

    def release(self, attempt_id: str) -> None:
        """Gives back what was held for an attempt that was never made."""
        del self._held[attempt_id]

    def settle(self, record: AttemptRecord) -> None:
        """Counts what an attempt cost that has ended."""
        self._spent += _may_have_cost(record, self._held.pop(record.attempt_id))


class _Held(NamedTuple):
    """What is held for an attempt under way. `silent`: of what its model does, not all is sent."""

    nano_usd: int
    spec: TargetSpec
    input_tokens: int
    silent: bool


def _may_have_cost(record: AttemptRecord, held: _Held) -> int:
    """Returns nano-USD: what was billed where that is known, else the most that can have been.

    Whoever breaks a stream off is billed for what was made until then, and that is what came, but for thinking that is
    not sent. An answer that was to come whole may have been made whole, unless its provider said that it has none.
    """
    usage, cost = record.usage, record.cost_nano_usd
    if not record.possibly_billed:
        return cost or 0
    if cost is not None and usage is not None and usage.source is UsageSource.REPORTED:
        return cost
    failed = (record.http_status or 0) >= ERROR_STATUS and record.failure is not FailureKind.TIMEOUT
    seen = failed or (record.streamed and not held.silent)
    if not seen or held.spec.price is None or usage is None or usage.output_tokens is None:
        return max(held.nano_usd, cost or 0)
    rates = worst_rates(held.spec.price, held.input_tokens)
    return max(rates.need(held.input_tokens, ceil(usage.output_tokens * INPUT_MARGIN)), cost or 0)
