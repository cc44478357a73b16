"""Draws worlds from seeds: any number of providers and troubles, any traffic."""

from __future__ import annotations

import random

from tests.simulation.providers import Spell, Temper, Trouble
from tests.simulation.world import Scenario, Traffic
from turnout_server.core.model import Strategy

STRATEGIES = (None, Strategy.COST, Strategy.LATENCY, Strategy.HYBRID, Strategy.ROUND_ROBIN, Strategy.WEIGHTED)
OF_A_PROVIDER = frozenset({Trouble.DARK, Trouble.BLACK_HOLE, Trouble.QUOTA, Trouble.FALSE_401})
"""Troubles of an address or of a key, which all models of a provider share."""
NAMES = ("north", "south", "east", "west", "centre")


def drawn(seed: str, *, calls: int) -> Scenario:
    """Returns the scenario of a seed, of about so many calls."""
    rng = random.Random(f"{seed}/scenario")
    sidecar_count = rng.choice((1, 1, 1, 2, 5))
    rate = rng.choice((1 / 60, 0.1, 1.0, 10.0, 100.0))
    seconds = min(86_400.0, calls / rate / sidecar_count)
    targets = _targets(rng)
    traffic = Traffic(
        calls_per_second=rate,
        streamed_share=rng.choice((0.0, 0.5, 1.0)),
        bad_share=rng.choice((0.0, 0.0, 0.1)),
        deadlines=rng.choice(((None,), (30.0, 120.0, None), (0.5, 5.0, 300.0))),
        strategy=rng.choice(STRATEGIES),
    )
    return Scenario(
        targets=targets,
        seconds=seconds,
        spells=tuple(_spell(rng, targets, seconds) for _ in range(rng.randrange(0, 8))),
        traffic=traffic,
        tempers={name: _temper(rng) for name in sorted({target.split("/")[0] for target in targets})},
        sidecar_count=sidecar_count,
        credential_count=rng.choice((1, 1, 2, 3)),
    )


def _targets(rng: random.Random) -> tuple[str, ...]:
    names = NAMES[: rng.randrange(1, len(NAMES) + 1)]
    return tuple(f"{name}/model-{n}" for name in names for n in range(rng.choice((1, 1, 2, 4))))


def _spell(rng: random.Random, targets: tuple[str, ...], seconds: float) -> Spell:
    start = rng.uniform(0.0, seconds)
    target = rng.choice(targets)
    provider = target.split("/")[0]
    trouble = rng.choice(list(Trouble))
    # One model, a provider with all its models, or everything at once: the network of the pod.
    places = (provider, provider, "") if trouble in OF_A_PROVIDER else (target, target, provider, provider, "")
    return Spell(
        trouble=trouble,
        start=start,
        end=start + rng.choice((1.0, 10.0, 60.0, 600.0, seconds)),
        where=rng.choice(places),
        share=rng.choice((0.05, 0.3, 0.7, 1.0)),
    )


def _temper(rng: random.Random) -> Temper:
    return Temper(
        first_token_seconds=rng.choice((0.1, 0.4, 1.5)),
        seconds_per_output_token=rng.choice((0.002, 0.01)),
        spread=rng.choice((0.0, 0.3)),
    )
