"""How long the answers to one task will probably be, at all targets at once, and what that length costs in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.columns import Facts
    from turnout_server.core.tokens import OutputLengths
    from turnout_server.core.vitals import Vitals


class Outputs:
    """Columns in the order of the fleet, for one task and one set of vitals; they never change.

    `fixed_costs` and `fixed_seconds` are what an answer of the expected length adds to cost and latency, whatever the
    prompt; a cost includes the grain. `longest` is at least the longest expected.
    """

    __slots__ = ("fixed_costs", "fixed_seconds", "lengths", "longest", "vitals")

    def __init__(self, task: str, facts: Facts, vitals: Vitals, lengths: OutputLengths) -> None:
        self.vitals = vitals
        count = len(facts.specs)
        self.lengths, self.fixed_costs, self.fixed_seconds = [0] * count, [0.0] * count, [0.0] * count
        self.longest = 0
        self._fill(range(count), task, facts, lengths)

    def brought_up(self, task: str, facts: Facts, vitals: Vitals, lengths: OutputLengths) -> Outputs:
        """Returns the columns for later vitals: a copy in which only what has changed since is worked out anew."""
        changed = vitals.changed_since(self.vitals)
        if changed is None:
            return Outputs(task, facts, vitals, lengths)
        new = Outputs.__new__(Outputs)
        new.vitals = vitals
        new.lengths = self.lengths.copy()
        new.fixed_costs = self.fixed_costs.copy()
        new.fixed_seconds = self.fixed_seconds.copy()
        new.longest = self.longest
        new._fill(changed, task, facts, lengths)  # noqa: SLF001  # one of ours
        return new

    def _fill(self, indexes: Iterable[int], task: str, facts: Facts, lengths: OutputLengths) -> None:
        token_seconds = self.vitals.token_seconds
        for index in indexes:
            target = facts.specs[index].target
            length = lengths.expected(task, target.provider, target.model)
            tokens = round(min(length, facts.max_outputs[index]))
            self.lengths[index] = tokens
            self.fixed_costs[index] = tokens * facts.output_rates[index] + facts.grains[index]
            self.fixed_seconds[index] = token_seconds[index] * tokens
            self.longest = max(self.longest, tokens)
