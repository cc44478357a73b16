"""A plain ordered fallback, as most applications have it: the first target, then the second, and so on, every time."""

from __future__ import annotations

from bench.decisions.baseline import Baseline
from bench.decisions.calls import Planned
from bench.decisions.contender import End


class OrderedFallback(Baseline):
    """Tries the targets in order until one answers; remembers nothing."""

    async def carry_out(self, planned: Planned) -> End:
        """Carries out one call."""
        for name in self.names:
            tried = await self.attempt(planned, name)
            if tried.failure is None:
                return End.ANSWERED
            if tried.shown:
                return End.BROKEN
        return End.FAILED
