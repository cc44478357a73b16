"""One that knows the future: of the targets that will answer, it takes the cheapest or the fastest.

It knows every fault, which single attempts will fail or outlast the time they are given, what each answer will cost,
and how slow each target is at the moment; it does not choose by how much single answers scatter: no rule could.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.decisions.baseline import ATTEMPT_SECONDS, Baseline
from bench.decisions.calls import Planned
from bench.decisions.contender import End
from bench.decisions.providers import Providers
from tests.virtual_time import virtual_loop

Better = Callable[[Providers, Planned, str, float], float]


def cost(providers: Providers, planned: Planned, name: str, now: float) -> float:
    """Returns what an answer will cost."""
    return providers.cost_usd(name, planned, now)


def latency(providers: Providers, planned: Planned, name: str, now: float) -> float:
    """Returns how long an answer will usually take."""
    return providers.fate(planned, name, now).usual_seconds


class Oracle(Baseline):
    """Takes the best by a measure, lowest first."""

    def __init__(self, providers: Providers, sidecar: int, better: Better) -> None:
        super().__init__(providers, sidecar)
        self._better = better

    async def carry_out(self, planned: Planned) -> End:
        """Carries out one call, in one attempt; it fails only where nobody would answer."""
        now = virtual_loop().time()
        answering = [name for name in self.names if self._answers(planned, name, now)]
        if not answering:
            return End.FAILED
        best = min(answering, key=lambda name: self._better(self.providers, planned, name, now))
        tried = await self.attempt(planned, best)
        return End.ANSWERED if tried.failure is None else End.FAILED

    def _answers(self, planned: Planned, name: str, now: float) -> bool:
        fate = self.providers.fate(planned, name, now)
        return fate.answers and fate.answer_seconds < ATTEMPT_SECONDS
