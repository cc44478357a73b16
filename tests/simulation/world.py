"""A whole world in virtual time: providers, sidecars, traffic; what became of every call, and every rule broken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from tests.simulation.bills import PriceChange, list_price, price_at
from tests.simulation.callers import Called, make
from tests.simulation.marks import marked
from tests.simulation.providers import PLAIN, Providers, Temper
from tests.simulation.sidecars import Sidecar, sidecar
from tests.simulation.troubles import Spell, Weather
from tests.simulation.wishes import OUTPUT_TOKENS_MAXIMUM, Mode, Reporting, Wish
from tests.virtual_time import virtual_loop
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.model import Capability, Strategy, Target
from turnout_server.core.settings import Policy, RoutingSettings, Settings

SETTLES_SECONDS = 30.0
"""After the last call: late reports come, and leases lapse."""
MIXED: Mapping[Mode, float] = {Mode.UNARY: 0.5, Mode.STREAM: 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How many calls come to each sidecar, of what kind. Of each sequence one is drawn, all alike.

    `modes` are weights. `deadlines` in seconds, None for no deadline. `silent_share` of the applications that make
    calls themselves never report, others report late or twice. `impatient_share` of the callers go away within 3 s.
    """

    calls_per_second: float = 1.0
    modes: Mapping[Mode, float] = field(default_factory=lambda: MIXED)
    deadlines: Sequence[float | None] = (30.0, 120.0, None)
    bad_share: float = 0.0
    silent_share: float = 0.0
    impatient_share: float = 0.0
    prompt_bytes: Sequence[int] = (40, 400, 8000)
    task_count: int = 1
    strategy: Strategy | None = None
    regions: Sequence[tuple[str, ...]] = ((),)
    """What requests allow."""
    policy_regions: tuple[str, ...] = ()
    """What the policy allows."""
    max_costs_usd: Sequence[float | None] = ()
    """Caps of requests, drawn anew for each, with or without an output limit of its own; () for none at all."""
    output_limits: Sequence[int | None] = ()
    """Output limits of requests, drawn anew for each; () for the same for all."""

    def wish(self, rng: random.Random) -> Wish:
        """Draws what the next call asks for."""
        reporting = Reporting.AT_ONCE
        if rng.random() < self.silent_share:
            reporting = rng.choice((Reporting.NEVER, Reporting.NEVER, Reporting.LATE, Reporting.TWICE))
        asked = rng.choice(self.regions) if len(self.regions) > 1 else self.regions[0]
        policy = self.policy_regions
        held_to = tuple(region for region in asked or policy if region in (policy or asked))
        cap: float | None = None
        most: int | None = OUTPUT_TOKENS_MAXIMUM
        if self.max_costs_usd:
            cap, most = rng.choice(self.max_costs_usd), rng.choice((None, OUTPUT_TOKENS_MAXIMUM))
        if self.output_limits:
            most = rng.choice(self.output_limits)
        return Wish(
            max_cost_usd=cap,
            max_output_tokens=most,
            regions=asked,
            held_to=held_to,
            mode=rng.choices(list(self.modes), list(self.modes.values()))[0],
            words=marked(held_to) + "x" * rng.choice(self.prompt_bytes),
            deadline=rng.choice(self.deadlines),
            bad=rng.random() < self.bad_share,
            task=f"task-{rng.randrange(self.task_count)}" if self.task_count > 1 else "",
            strategy=self.strategy,
            gives_up_seconds=rng.uniform(0.0, 3.0) if rng.random() < self.impatient_share else None,
            reporting=reporting,
        )


BY_PRIORITY = Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that a world is made of, but its seed."""

    targets: Sequence[str]
    seconds: float
    spells: Sequence[Spell] = ()
    traffic: Traffic = Traffic()
    tempers: Mapping[str, Temper] = field(default_factory=dict)
    """By provider."""
    price_changes: Sequence[PriceChange] = ()
    sidecar_count: int = 1
    credential_count: int = 1
    settings: Settings = BY_PRIORITY
    regional: bool = False
    """Whether each endpoint is in the region that it is named for; else nothing is known of regions."""

    @property
    def ranks(self) -> dict[str, int]:
        """The place of each target, the best first."""
        return {target: rank for rank, target in enumerate(self.targets)}

    def temper(self, target: str) -> Temper:
        """How a target answers when it is well."""
        return self.tempers.get(target.partition("/")[0], PLAIN)


@dataclass(slots=True)
class World:
    """A world that has run."""

    scenario: Scenario
    providers: Providers
    sidecars: list[Sidecar]
    calls: list[Called] = field(default_factory=list)
    _by_sidecar: dict[str, list[Called]] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """Every rule that the sidecars broke on the way."""
        return [line for each in self.sidecars for line in each.watch.broken]

    @property
    def digest(self) -> str:
        """A short word for everything that was decided, sent and told."""
        digest = blake2b(digest_size=16)
        for each in self.sidecars:
            digest.update(each.watch.digest.encode())
        for called in self.calls:
            digest.update(repr((called.started, called.ended, called.target, str(called.error))).encode())
        return digest.hexdigest()

    def calls_of(self, one: Sidecar) -> list[Called]:
        """Returns the calls of one sidecar, in the order in which they came."""
        return self._by_sidecar.get(one.name, [])

    def begin_call(self, one: Sidecar, wish: Wish) -> Called:
        """Takes note of a call that comes now."""
        found = usable(one, executing=wish.mode is not Mode.ADVISED)
        if wish.held_to:
            found = tuple(name for name in found if wish.allows(name))
        called = Called(sidecar=one.name, started=virtual_loop().time(), wish=wish, usable=found)
        self.calls.append(called)
        self._by_sidecar.setdefault(one.name, []).append(called)
        return called


def target_of(name: str) -> Target:
    """Returns the target of a name."""
    provider, _, rest = name.partition("/")
    model, _, endpoint = rest.partition("@")
    return Target(provider, model, endpoint)


def spec_of(name: str, rank: int, credential_count: int, temper: Temper = PLAIN) -> TargetSpec:
    """Returns a target as the catalog would have it: its priors are near the truth, its thinking is known."""
    return TargetSpec(
        target=target_of(name),
        wire="openai",
        base_url="http://simulated",
        context_window_tokens=128_000,
        max_output_tokens=4096,
        price=list_price(rank),
        capabilities=frozenset({Capability.STREAMING, Capability.TOOLS}),
        quality=90.0 - rank,
        latency_prior_seconds=temper.first_token_seconds + temper.silent_thinking_seconds,
        seconds_per_output_token_prior=temper.seconds_per_output_token,
        silent_thinking=temper.silent_thinking_seconds > 0.0,
        credentials=tuple(CredentialSpec(label=f"key-{n}") for n in range(credential_count)),
        provider_rank=rank,
        name=name,
    )


def fleet_of(scenario: Scenario, now: float = 0.0) -> Fleet:
    """Returns the fleet as the operator has configured it by then: a price that its provider states is left to it."""
    specs = []
    for name, rank in scenario.ranks.items():
        temper = scenario.temper(name)
        spec = spec_of(name, rank, scenario.credential_count, temper)
        if not temper.states_cost:
            spec = replace(spec, price=price_at(name, rank, scenario.price_changes, now))
        if scenario.regional:
            spec = replace(spec, region=spec.target.endpoint)
        specs.append(spec)
    return Fleet(tuple(specs))


async def born(scenario: Scenario, seed: str, *, deep: bool = False) -> World:
    """Makes a world in the running loop; nothing has happened in it yet."""
    providers = Providers(
        random.Random(f"{seed}/world"),
        Weather(scenario.spells, scenario.targets),
        ranks=scenario.ranks,
        tempers={target: scenario.temper(target) for target in scenario.targets},
        price_changes=scenario.price_changes,
    )
    fleet = fleet_of(scenario)
    names = [f"sidecar-{n}" for n in range(scenario.sidecar_count)]
    sidecars = [
        sidecar(name, fleet, scenario.settings, providers, random.Random(f"{seed}/{name}"), deep=deep) for name in names
    ]
    return World(scenario, providers, sidecars)


async def live(scenario: Scenario, seed: str, *, deep: bool = False) -> World:
    """Lets a world live for its time and returns it when every call has ended."""
    world = await born(scenario, seed, deep=deep)
    for change in scenario.price_changes:
        virtual_loop().call_at(change.at, _adopt, world)
    async with asyncio.TaskGroup() as running:
        for one in world.sidecars:
            running.create_task(_traffic(world, one, random.Random(f"{seed}/{one.name}/traffic"), running))
    await asyncio.sleep(SETTLES_SECONDS)
    for one in world.sidecars:
        one.router.passing_time.expire()
        await one.executor.aclose()
    return world


def _adopt(world: World) -> None:
    """Does what an operator does who hears of new prices."""
    fleet = fleet_of(world.scenario, virtual_loop().time())
    for one in world.sidecars:
        one.router.adopt(fleet, world.scenario.settings)


async def _traffic(world: World, one: Sidecar, rng: random.Random, running: asyncio.TaskGroup) -> None:
    traffic, loop = world.scenario.traffic, virtual_loop()
    while True:
        await asyncio.sleep(rng.expovariate(traffic.calls_per_second))
        if loop.time() >= world.scenario.seconds:
            return
        called = world.begin_call(one, traffic.wish(rng))
        running.create_task(make(one, called, world.providers))


def usable(one: Sidecar, *, executing: bool) -> tuple[str, ...]:
    """Returns the targets that a sidecar has nothing against now, for calls of its own or of its callers."""
    state, now = one.router.state, virtual_loop().time()
    return tuple(
        target.spec.name
        for target in state.targets
        if target.breaker.closed
        and target.endpoint.closed
        and state.credentials.verdict(target.spec, tenant="", executing=executing, now=now).reason is None
    )
