"""A whole world in virtual time: providers, sidecars, traffic; what became of every call, and every rule broken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from tests.simulation.providers import BAD_REQUEST, Providers, Spell, Temper
from tests.simulation.sidecars import Sidecar, sidecar
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord, Completed
from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.errors import CallError, StreamInterruptedError, TurnoutError
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.model import Capability, RouteQuery, RoutingOptions, Strategy, Target
from turnout_server.core.settings import Policy, RoutingSettings, Settings

EXPIRE_EVERY_SECONDS = 0.25
"""As the composition root does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How many calls come, of what kind. `deadlines` in seconds, None for no deadline; all are drawn evenly."""

    calls_per_second: float = 1.0
    streamed_share: float = 0.5
    deadlines: Sequence[float | None] = (30.0, 120.0, None)
    bad_share: float = 0.0
    prompt_bytes: Sequence[int] = (40, 400, 8000)
    strategy: Strategy | None = None


BY_PRIORITY = Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that a world is made of, but its seed."""

    targets: Sequence[str]
    seconds: float
    spells: Sequence[Spell] = ()
    traffic: Traffic = Traffic()
    tempers: dict[str, Temper] = field(default_factory=dict)
    sidecar_count: int = 1
    credential_count: int = 1
    settings: Settings = BY_PRIORITY


@dataclass(slots=True, kw_only=True)
class Called:
    """One call: `error` is None where it was answered, `bad` says that the caller's request was at fault."""

    sidecar: str
    started: float
    deadline: float | None
    streamed: bool
    bad: bool
    ended: float = 0.0
    end_count: int = 0
    error: TurnoutError | None = None
    target: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    usable: tuple[str, ...] = ()
    """Targets that the sidecar could have used when the call came."""


@dataclass(slots=True)
class World:
    """A world that has run."""

    scenario: Scenario
    providers: Providers
    sidecars: list[Sidecar]
    calls: list[Called]

    @property
    def broken(self) -> list[str]:
        """Every rule that the sidecars broke on the way."""
        return [line for each in self.sidecars for line in each.watch.broken]

    @property
    def trace(self) -> list[tuple[float, str, str]]:
        """Everything decided, in order, for comparing two runs."""
        return [step for each in self.sidecars for step in each.watch.trace]


def spec_of(name: str, rank: int, credential_count: int) -> TargetSpec:
    provider, _, rest = name.partition("/")
    model, _, endpoint = rest.partition("@")
    return TargetSpec(
        target=Target(provider, model, endpoint),
        wire="openai",
        base_url="http://simulated",
        context_window_tokens=128_000,
        max_output_tokens=4096,
        price=Price(input_per_million=(1 + rank) * 10**9, output_per_million=(2 + rank) * 10**9),
        capabilities=frozenset({Capability.STREAMING, Capability.TOOLS}),
        quality=90.0 - rank,
        latency_prior_seconds=0.5,
        seconds_per_output_token_prior=0.005,
        credentials=tuple(CredentialSpec(label=f"key-{n}") for n in range(credential_count)),
        provider_rank=rank,
        name=name,
    )


async def live(scenario: Scenario, seed: str) -> World:
    """Lets a world live for its time and returns it when every call has ended."""
    rng = random.Random(f"{seed}/world")
    fleet = Fleet(tuple(spec_of(name, rank, scenario.credential_count) for rank, name in enumerate(scenario.targets)))
    tempers = {
        target: temper
        for where, temper in scenario.tempers.items()
        for target in scenario.targets
        if target.startswith(where)
    }
    providers = Providers(rng, scenario.spells, tempers)
    sidecars = [
        sidecar(f"sidecar-{n}", fleet, scenario.settings, providers, seed) for n in range(scenario.sidecar_count)
    ]
    world = World(scenario, providers, sidecars, [])
    clocks = [asyncio.create_task(_expire(each)) for each in sidecars]
    await asyncio.gather(*(_traffic(world, each, random.Random(f"{seed}/{n}")) for n, each in enumerate(sidecars)))
    for clock in clocks:
        clock.cancel()
    for each in sidecars:
        await each.executor.aclose()
    return world


async def _expire(each: Sidecar) -> None:
    while True:
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)
        each.router.expire()


async def _traffic(world: World, each: Sidecar, rng: random.Random) -> None:
    traffic, loop = world.scenario.traffic, virtual_loop()
    running: set[asyncio.Task[None]] = set()
    while True:
        await asyncio.sleep(rng.expovariate(traffic.calls_per_second))
        if loop.time() >= world.scenario.seconds:
            break
        called = Called(
            sidecar=each.watch.name,
            started=loop.time(),
            deadline=rng.choice(traffic.deadlines),
            streamed=rng.random() < traffic.streamed_share,
            bad=rng.random() < traffic.bad_share,
        )
        called.usable = usable(each)
        world.calls.append(called)
        words = BAD_REQUEST if called.bad else "x" * rng.choice(traffic.prompt_bytes)
        task = asyncio.create_task(call(each, called, words, traffic.strategy))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


def usable(each: Sidecar) -> tuple[str, ...]:
    """Returns the targets that a sidecar has nothing against now."""
    state, now = each.router.state, virtual_loop().time()
    return tuple(
        target.spec.name
        for target in state.targets
        if target.breaker.closed
        and target.endpoint.closed
        and state.credentials.verdict(target.spec, tenant="", executing=True, now=now).reason is None
    )


async def call(each: Sidecar, called: Called, words: str, strategy: Strategy | None = None) -> None:
    """Makes one call and writes down how it ended."""
    chat = ChatInput(
        messages=(Message(role=Role.USER, parts=(Part(content=Text(text=words)),)),), max_output_tokens=300
    )
    query = RouteQuery(options=RoutingOptions(strategy=strategy), deadline_seconds=called.deadline)
    try:
        if called.streamed:
            completed = None
            async with aclosing(each.executor.execute_stream(query, chat)) as events:
                async for event in events:
                    if isinstance(event, Completed):
                        completed = event
            assert completed is not None
            called.target, called.attempts = str(completed.target), completed.attempts
        else:
            result = await each.executor.execute(query, chat)
            called.target, called.attempts = str(result.target), result.attempts
    except TurnoutError as error:
        called.error = error
        called.attempts = error.report.attempts if isinstance(error, CallError) else ()
    called.ended = virtual_loop().time()
    called.end_count += 1


def was_interrupted(called: Called) -> bool:
    """Whether a stream broke after its content had begun, which the policy FAIL does not repair."""
    return isinstance(called.error, StreamInterruptedError)
