"""Turnout as a contender: the real router and the real attempt loop, in virtual time, over the providers of a trace."""

from __future__ import annotations

import itertools
import random
from contextlib import aclosing

from bench.decisions.calls import DEADLINE_SECONDS, Planned
from bench.decisions.contender import End
from bench.decisions.providers import Providers
from bench.decisions.upstream import ProvidersOf, prompt
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptDeltas, AttemptRecord
from turnout_server.core.comparison import Comparison
from turnout_server.core.decision import Decision
from turnout_server.core.errors import TurnoutError
from turnout_server.core.events import Event
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import Capability, FailureKind, RouteQuery, RoutingOptions, Strategy, Target
from turnout_server.core.settings import Policy, QualityFloor, RoutingSettings, Settings
from turnout_server.execution.executor import Executor
from turnout_server.router import Router

NANO_USD = 1e9
# Any target will do for the calls of a trace: no floor under the quality, so that all contenders choose among all.
SETTINGS = Settings(
    routing=RoutingSettings(policies={"default": Policy(quality_floor=QualityFloor(auto=False, value=None))})
)


class Turnout:
    """One sidecar with one strategy and the defaults; `regions` are all that its calls allow, the first preferred."""

    def __init__(self, providers: Providers, sidecar: int, strategy: Strategy, regions: tuple[str, ...] = ()) -> None:
        loop, ids = virtual_loop(), itertools.count()
        rng = random.Random(f"{providers.trace.name}/{sidecar}")

        def new_id() -> str:
            return f"{sidecar}-{next(ids)}"

        self.events: list[Event] = []
        self.told = Told()
        self._providers = providers
        self._options = RoutingOptions(strategy=strategy, regions=regions)
        self._planned: dict[int, Planned] = {}
        self._factors = self._known_factors()
        fleet = self._fleet()
        self._router = Router(
            fleet,
            SETTINGS,
            clock=loop.clock,
            wall=loop.wall,
            rng=rng,
            new_id=new_id,
            on_event=self.events.append,
            instruments=self.told,
        )
        self._executor = Executor(
            self._router,
            dict.fromkeys(fleet.providers, ProvidersOf(providers, sidecar, self._planned)),
            clock=loop.clock,
            wall=loop.wall,
            rng=rng,
            new_id=new_id,
        )

    async def call(self, planned: Planned) -> End:
        """Carries out one call."""
        query = RouteQuery(options=self._options, deadline_seconds=DEADLINE_SECONDS)
        self._planned[planned.number] = planned
        shown = False
        try:
            if planned.streamed:
                async with aclosing(self._executor.execute_stream(query, prompt(planned))) as events:
                    async for event in events:
                        shown = shown or isinstance(event, AttemptDeltas)
            else:
                await self._executor.execute(query, prompt(planned))
        except TurnoutError:
            return End.BROKEN if shown else End.FAILED
        finally:
            del self._planned[planned.number]
        return End.ANSWERED

    def tick(self) -> None:
        """Does what the composition root does four times a second; an operator's new price table is loaded too."""
        self._router.passing_time.expire()
        if self._providers.prices_change and (factors := self._known_factors()) != self._factors:
            self._factors = factors
            self._router.adopt(self._fleet(), SETTINGS)

    async def aclose(self) -> None:
        """Ends the trials that run."""
        await self._executor.aclose()

    def _known_factors(self) -> tuple[float, ...]:
        now = virtual_loop().time()
        return tuple(
            self._providers.price_factor(target.name, now, as_known=True) for target in self._providers.targets
        )

    def _fleet(self) -> Fleet:
        return Fleet(tuple(self._spec(rank, factor) for rank, factor in enumerate(self._factors)))

    def _spec(self, rank: int, price_factor: float) -> TargetSpec:
        target = self._providers.targets[rank]
        provider, _, rest = target.name.partition("/")
        model, _, endpoint = rest.partition("@")
        ranks = list(dict.fromkeys(each.provider for each in self._providers.targets))
        return TargetSpec(
            target=Target(provider, model, endpoint),
            wire="openai",
            base_url="http://simulated",
            region=endpoint,
            context_window_tokens=128_000,
            max_output_tokens=8192,
            price=Price(
                input_per_million=round(target.input_usd_per_million * price_factor * NANO_USD),
                output_per_million=round(target.output_usd_per_million * price_factor * NANO_USD),
            ),
            capabilities=frozenset({Capability.STREAMING}),
            quality=target.quality,
            latency_prior_seconds=target.prior_first_token_seconds,
            seconds_per_output_token_prior=target.prior_seconds_per_token,
            credentials=(CredentialSpec(label="key"),),
            provider_rank=ranks.index(provider),
            name=target.name,
        )


class Told:
    """What the sidecar tells of its own work, to be held against what the providers saw."""

    def __init__(self) -> None:
        self.attempts: list[AttemptRecord] = []

    def decision(self, decision: Decision) -> None:
        """Needs no count of decisions."""

    def attempt(self, record: AttemptRecord) -> None:
        """Takes an attempt that ended."""
        self.attempts.append(record)

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        """Needs no count of failovers."""

    def hedge(self, target: Target, result: HedgeResult) -> None:
        """Nothing is hedged here."""

    def shadow(self, comparison: Comparison) -> None:
        """No policy has a shadow here."""

    def outcome(self, result: str) -> None:
        """Needs no count of reports."""

    def overhead(self, seconds: float) -> None:
        """Has no overhead in virtual time."""
