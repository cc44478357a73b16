"""Plays one trace through one contender, in virtual time, and returns everything that happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from bench.decisions import oracle
from bench.decisions.calls import Planned, planned
from bench.decisions.contender import Contender, End
from bench.decisions.fallback import OrderedFallback
from bench.decisions.litellm_rules import Choice, LiteLlmRules
from bench.decisions.oracle import Oracle
from bench.decisions.providers import Attempt, Providers
from bench.decisions.trace import Trace
from bench.decisions.turnout import Turnout
from tests.virtual_time import run, virtual_loop
from turnout_server.core.events import Event
from turnout_server.core.model import Strategy

TICK_SECONDS = 0.25
"""As the composition root."""
TURNOUT = "Turnout"
ORACLE_COST, ORACLE_LATENCY = "oracle, cost", "oracle, latency"
FALLBACK = "ordered fallback"
LITELLM_LATENCY, LITELLM_COST, LITELLM_SHUFFLE = "LiteLLM, latency", "LiteLLM, cost", "LiteLLM, shuffle"

STRATEGIES = (Strategy.PRIORITY, Strategy.COST, Strategy.LATENCY, Strategy.HYBRID)
Made = Callable[[Providers, int], Contender]

CONTENDERS: Mapping[str, Made] = MappingProxyType(
    {
        **{f"{TURNOUT} {strategy.value}": partial(Turnout, strategy=strategy) for strategy in STRATEGIES},
        FALLBACK: OrderedFallback,
        LITELLM_SHUFFLE: partial(LiteLlmRules, choice=Choice.SHUFFLE),
        LITELLM_COST: partial(LiteLlmRules, choice=Choice.COST),
        LITELLM_LATENCY: partial(LiteLlmRules, choice=Choice.LATENCY),
        ORACLE_COST: partial(Oracle, better=oracle.cost),
        ORACLE_LATENCY: partial(Oracle, better=oracle.latency),
    }
)
"""By the name that stands in the report; each takes the providers and the sidecar's number."""
HELD: Mapping[str, Made] = MappingProxyType(
    {
        f"{TURNOUT} in {' then '.join(regions)}": partial(Turnout, strategy=Strategy.COST, regions=regions)
        for regions in (("eu",), ("eu", "us"))
    }
)
"""Those whose calls are held to regions: they have no rivals, and are not in the report."""


@dataclass(slots=True)
class Called:
    """How a call ended, and when; `answerable` says that some target would have answered it when it came."""

    planned: Planned
    end: End
    ended: float
    answerable: bool


@dataclass(slots=True)
class Played:
    """A trace that has been played through a contender."""

    trace: Trace
    contender: str
    calls: list[Called]
    attempts: list[Attempt]
    sidecars: list[Contender]
    events: list[list[Event]]
    """What each sidecar told; empty for those that tell nothing."""


def play(trace: Trace, contender: str, *, sidecars: int | None = None) -> Played:
    """Plays a trace; `sidecars` of its sidecars only, where given. Raises KeyError for an unknown contender."""
    return run(_play(trace, contender, sidecars or trace.sidecars))


async def _play(trace: Trace, contender: str, sidecars: int) -> Played:
    providers = Providers(trace, sidecars / trace.sidecars)
    made = CONTENDERS.get(contender) or HELD[contender]
    each = [made(providers, sidecar) for sidecar in range(sidecars)]
    played = Played(trace, contender, [], providers.attempts, each, [])
    clock = asyncio.create_task(_tick([one for one in each if isinstance(one, Turnout)]))
    running: set[asyncio.Task[None]] = set()
    for coming in planned(trace, sidecars):
        await asyncio.sleep(coming.at - virtual_loop().time())
        task = asyncio.create_task(_call(each[coming.sidecar], coming, providers, played))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    clock.cancel()
    for one in each:
        await one.aclose()
    played.events = [one.events if isinstance(one, Turnout) else [] for one in each]
    return played


async def _tick(each: list[Turnout]) -> None:
    while each:
        await asyncio.sleep(TICK_SECONDS)
        for one in each:
            one.tick()


async def _call(one: Contender, coming: Planned, providers: Providers, played: Played) -> None:
    now = virtual_loop().time()
    answerable = any(providers.fate(coming, target.name, now).answers for target in providers.targets)
    end = await one.call(coming)
    played.calls.append(Called(coming, end, virtual_loop().time(), answerable))
