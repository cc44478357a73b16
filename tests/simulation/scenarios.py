"""Draws worlds from seeds: any number of providers and troubles, any traffic, one sidecar or a thousand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from tests.simulation.bills import PriceChange
from tests.simulation.providers import Temper
from tests.simulation.troubles import DRAWN, LIMITS, OF_A_PROVIDER, Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import Scenario, Traffic
from turnout_server.core.model import MidStreamPolicy, Strategy
from turnout_server.core.settings import BreakerSettings, FailoverSettings, Policy, RoutingSettings, Settings

MANY_TRIALS = (
    Trouble.STALL,
    Trouble.STALL,
    Trouble.CUT,
    Trouble.HANG,
    Trouble.DARK,
    Trouble.BLACK_HOLE,
    Trouble.BROWN_OUT,
    Trouble.SLOW,
    Trouble.FALSE_401,
)
STRATEGIES = (
    None,
    None,
    None,
    Strategy.COST,
    Strategy.LATENCY,
    Strategy.QUALITY,
    Strategy.AVAILABILITY,
    Strategy.HYBRID,
    Strategy.ROUND_ROBIN,
    Strategy.WEIGHTED,
)
"""None is the policy's own: PRIORITY."""
NAMES = ("north", "south", "east", "west", "centre")
SIDECARS = (1, 1, 1, 2, 5, 20)
CALLS_PER_SECOND = (1 / 60, 0.1, 1.0, 10.0, 100.0)
MODES: tuple[Mapping[Mode, float], ...] = (
    {Mode.UNARY: 1.0},
    {Mode.STREAM: 1.0},
    {Mode.ADVISED: 1.0},
    {Mode.UNARY: 1.0, Mode.STREAM: 1.0},
    {Mode.UNARY: 1.0, Mode.STREAM: 1.0, Mode.ADVISED: 1.0},
)
LONGEST_SECONDS = 86_400.0
HEDGING = Settings(
    routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY, hedge=True)}),
)
RESTARTING = Settings(
    routing=RoutingSettings(
        policies={"default": Policy(strategy=Strategy.PRIORITY, hedge=True, mid_stream=MidStreamPolicy.RESTART)}
    ),
)


def scenario_of(seed: str) -> Scenario:  # noqa: PLR0911  # one for each kind
    """Returns the world that a seed stands for; its first word says of which kind it is, and so how long."""
    match seed.partition("-")[0]:
        case "crowd":
            return crowd(seed, sidecars=1000, seconds=60.0)
        case "pressed":
            return pressed(seed)
        case "regional":
            return regional(seed, calls=250)
        case "hedged":
            # Where all take the operator's first choice there is most to hedge.
            return replace(drawn(seed, calls=250), settings=HEDGING)
        case "capped":
            return capped(seed)
        case "trials":
            return trials(seed)
        case "day":
            return drawn(seed, calls=1440, calls_per_second=1 / 60)
        case "long":
            return drawn(seed, calls=1000)
        case _:
            return drawn(seed, calls=250)


def drawn(seed: str, *, calls: int, calls_per_second: float | None = None) -> Scenario:
    """Returns the scenario of a seed, of about so many calls in all."""
    rng = random.Random(f"{seed}/scenario")
    sidecar_count = rng.choice(SIDECARS) if calls_per_second is None else 1
    rate = rng.choice(CALLS_PER_SECOND) if calls_per_second is None else calls_per_second
    seconds = min(LONGEST_SECONDS, calls / rate / sidecar_count)
    targets = _targets(rng)
    tempers = {name: _temper(rng) for name in dict.fromkeys(target.partition("/")[0] for target in targets)}
    return Scenario(
        targets=targets,
        seconds=seconds,
        spells=tuple(_spell(rng, targets, seconds, sidecar_count) for _ in range(rng.randrange(0, 8))),
        traffic=_traffic(rng, rate),
        tempers=tempers,
        price_changes=tuple(
            PriceChange(at=rng.uniform(0.0, seconds), target=rng.choice(targets), times=rng.choice((2, 3, 10)))
            for _ in range(rng.choice((0, 0, 1, 2)))
        ),
        sidecar_count=sidecar_count,
        credential_count=rng.choice((1, 1, 2, 3)),
    )


def crowd(seed: str, *, sidecars: int, seconds: float) -> Scenario:
    """Returns a world of very many sidecars that get little traffic each, with one bad hour for all of them."""
    rng = random.Random(f"{seed}/crowd")
    targets = ("north/model-0", "south/model-0", "east/model-0")
    return Scenario(
        targets=targets,
        seconds=seconds,
        spells=(
            _spell(rng, targets, seconds, sidecars),
            Spell(trouble=rng.choice(sorted(LIMITS)), start=seconds / 4, end=seconds / 2, where="north"),
        ),
        traffic=Traffic(calls_per_second=1 / 60, modes=MODES[-1], deadlines=(120.0, None)),
        sidecar_count=sidecars,
    )


def pressed(seed: str) -> Scenario:
    """Returns a world of targets that take only part of their calls, and at least one that takes all."""
    rng = random.Random(f"{seed}/pressed")
    count = rng.choice((2, 3))
    targets = tuple(f"{name}/model-0" for name in NAMES[:count])
    seconds, rate = rng.choice(((60.0, 4.0), (30.0, 8.0), (15.0, 16.0)))
    return Scenario(
        targets=targets,
        seconds=seconds,
        spells=tuple(
            Spell(
                trouble=rng.choice((Trouble.CROWD, Trouble.CROWD, Trouble.OVERLOAD)),
                start=rng.uniform(0.0, seconds / 4),
                end=rng.choice((seconds, seconds / 2)),
                where=target,
                share=rng.choice((0.2, 0.5, 0.7)),
            )
            for target in targets[:-1]
        ),
        traffic=Traffic(
            calls_per_second=rate,
            modes=rng.choice(MODES),
            deadlines=(120.0, None),
            strategy=rng.choice(STRATEGIES),
        ),
        tempers={target.partition("/")[0]: Temper(seconds_per_output_token=0.02) for target in targets},
        sidecar_count=rng.choice((1, 1, 3)),
    )


def regional(seed: str, *, calls: int) -> Scenario:
    """Returns a world of providers in several regions, one of which goes down for all of them, and calls held to some.

    Half of the worlds have a policy that is held to regions too. Nobody is hedged, shed or in a hurry.
    """
    rng = random.Random(f"{seed}/regional")
    regions = ("eu", "us", "ch")[: rng.choice((2, 2, 3))]
    targets = []
    for name in NAMES[: rng.choice((1, 2, 3))]:
        there = [region for region in regions if rng.random() < 0.8] or [rng.choice(regions)]
        targets += [f"{name}/model-{n}@{region}" for n in range(rng.choice((1, 2))) for region in there]
    # Somebody who does not say where.
    targets.append("centre/model-0")
    rate, sidecar_count = rng.choice((0.5, 2.0, 10.0)), rng.choice((1, 1, 3))
    seconds = calls / rate / sidecar_count
    down, start = rng.choice(regions), rng.uniform(0.0, seconds / 2)
    outage = Spell(
        trouble=rng.choice((Trouble.DARK, Trouble.BLACK_HOLE, Trouble.HANG, Trouble.BROWN_OUT, Trouble.CUT)),
        start=start,
        end=start + rng.choice((seconds / 8, seconds / 3)),
        share=rng.choice((0.5, 1.0)),
    )
    vendors = dict.fromkeys(target.partition("/")[0] for target in targets)
    policy = rng.choice(((), regions, regions[::-1]))
    return Scenario(
        targets=tuple(targets),
        seconds=seconds,
        spells=(
            *(replace(outage, where=f"{vendor}@{down}") for vendor in vendors),
            *(_spell(rng, tuple(targets), seconds, sidecar_count) for _ in range(rng.randrange(0, 3))),
        ),
        traffic=Traffic(
            calls_per_second=rate,
            modes=rng.choice(MODES),
            deadlines=(120.0, None),
            strategy=rng.choice(STRATEGIES),
            regions=((), regions[:1], regions[1:], regions, regions[::-1]),
            policy_regions=policy,
        ),
        sidecar_count=sidecar_count,
        settings=Settings(
            routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY, regions=policy)})
        ),
        regional=True,
    )


def capped(seed: str) -> Scenario:
    """Returns a world whose calls have caps, from too low for most answers to no bother; two in three hedge.

    Prices stay what they are: a call is held to those that it began with. Nobody leaves before the end.
    """
    rng = random.Random(f"{seed}/capped")
    scenario = drawn(seed, calls=250)
    traffic = replace(
        scenario.traffic,
        impatient_share=0.0,
        modes=rng.choice((MODES[0], MODES[1], MODES[3])),
        max_costs_usd=(None, 0.0003, 0.0005, 0.0008, 0.0012, 0.003, 0.02),
    )
    settings = rng.choice((scenario.settings, HEDGING, RESTARTING))
    return replace(scenario, traffic=traffic, price_changes=(), settings=settings)


def trials(seed: str) -> Scenario:
    """Returns a world of many trials that last as long as they may, or longer, and are not the last ones of their kind.

    One target or two, of one address or of two, in troubles that let answers begin, break and connections fail;
    breakers that open early and not for long; output limits of all sizes, callers who leave, tell late, or never. Times
    are so short that a target that is well may be missed for them.
    """
    rng = random.Random(f"{seed}/trials")
    targets = rng.choice((("north/model-0",), ("north/model-0", "north/model-1"), ("north/model-0", "south/model-0")))
    seconds = rng.choice((200.0, 400.0))
    breaker = BreakerSettings(
        consecutive_failures=rng.choice((1, 2, 3)),
        consecutive_span_seconds=rng.choice((0.0, 1.0)),
        open_seconds=rng.choice((0.5, 2.0, 5.0)),
        open_max_seconds=rng.choice((5.0, 25.0)),
        recovery_successes=rng.choice((1, 2, 3)),
    )
    policy = Policy(strategy=Strategy.PRIORITY, hedge=rng.random() < 0.5)
    if rng.random() < 0.5:
        policy = replace(policy, mid_stream=MidStreamPolicy.RESTART)
    return Scenario(
        targets=targets,
        seconds=seconds,
        spells=tuple(
            Spell(
                trouble=rng.choice(MANY_TRIALS),
                start=rng.uniform(0.0, seconds / 2),
                end=rng.choice((seconds / 2, seconds)),
                where=rng.choice(("", "north", *targets)),
                share=rng.choice((0.3, 0.5, 0.8)),
                every_seconds=rng.choice((0.0, 0.0, 2.0, 20.0)),
            )
            for _ in range(rng.choice((2, 3, 4)))
        ),
        traffic=Traffic(
            calls_per_second=rng.choice((0.5, 1.0, 3.0)),
            modes=rng.choice(MODES),
            bad_share=rng.choice((0.0, 0.1)),
            silent_share=rng.choice((0.0, 0.8)),
            impatient_share=rng.choice((0.0, 0.2)),
            deadlines=rng.choice(((None,), (5.0, 30.0, 120.0))),
            output_limits=(None, 1, 20, 300, 4000),
            max_costs_usd=rng.choice(((), (None, 0.0003, 0.003))),
        ),
        tempers={"north": _temper(rng), "south": _temper(rng)},
        settings=Settings(
            routing=RoutingSettings(policies={"default": policy}),
            failover=FailoverSettings(
                breaker=breaker,
                # Leases are short by these, and what stalls lasts long by this.
                first_token_minimum_seconds=rng.choice((2.0, 10.0)),
                first_token_factor=rng.choice((1.0, 2.0, 4.0)),
                idle_timeout_seconds=rng.choice((10.0, 20.0, 60.0)),
            ),
        ),
    )


def _targets(rng: random.Random) -> tuple[str, ...]:
    names = NAMES[: rng.randrange(1, len(NAMES) + 1)]
    found: list[str] = []
    for name in names:
        endpoints = rng.choice((("",), ("",), ("@eu", "@us")))
        found += [f"{name}/model-{n}{endpoint}" for n in range(rng.choice((1, 1, 2, 4))) for endpoint in endpoints]
    return tuple(found)


def _traffic(rng: random.Random, rate: float) -> Traffic:
    return Traffic(
        calls_per_second=rate,
        modes=rng.choice(MODES),
        bad_share=rng.choice((0.0, 0.0, 0.1)),
        silent_share=rng.choice((0.0, 0.3)),
        impatient_share=rng.choice((0.0, 0.0, 0.1)),
        deadlines=rng.choice(((None,), (30.0, 120.0, None), (0.5, 5.0, 300.0))),
        task_count=rng.choice((1, 1, 5)),
        strategy=rng.choice(STRATEGIES),
    )


def _spell(rng: random.Random, targets: tuple[str, ...], seconds: float, sidecar_count: int) -> Spell:
    start = rng.uniform(0.0, seconds)
    target = rng.choice(targets)
    provider, _, rest = target.partition("/")
    endpoint = rest.partition("@")[2]
    trouble = rng.choice(DRAWN)
    # One model, an endpoint, a provider with all its models, or everything at once.
    places = [provider, provider, f"{provider}@{endpoint}" if endpoint else provider]
    places += [""] if trouble in OF_A_PROVIDER else [target, target, target, ""]
    network = trouble is Trouble.NETWORK_LOSS
    return Spell(
        trouble=trouble,
        start=start,
        end=start + rng.choice((1.0, 10.0, 60.0, 600.0, seconds)),
        where="" if network else rng.choice(places),
        share=rng.choice((0.05, 0.3, 0.7, 1.0)),
        every_seconds=rng.choice((0.0, 0.0, 0.0, 2.0, 20.0, 120.0)),
        pod=f"sidecar-{rng.randrange(sidecar_count)}" if network else "",
    )


def _temper(rng: random.Random) -> Temper:
    return Temper(
        first_token_seconds=rng.choice((0.1, 0.4, 1.5)),
        seconds_per_output_token=rng.choice((0.002, 0.01)),
        spread=rng.choice((0.0, 0.3)),
        tail_share=rng.choice((0.0, 0.0, 0.02)),
        silent_thinking_seconds=rng.choice((0.0, 0.0, 0.0, 15.0)),
        states_cost=rng.choice((False, False, True)),
        counts_early=rng.choice((False, True)),
        cached_share=rng.choice((0.0, 0.5)),
    )
