"""What each threshold is worth: the same bad days with other values, side by side. Evidence for docs/decisions.

`python -m tests.simulation.sweep [THRESHOLD...]` writes a table; `--seeds N` lives through each day N times.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.providers import Temper
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, World, live
from tests.virtual_time import run
from turnout_server.core.settings import FailoverSettings, Settings

TARGETS = ("north/m-0", "north/m-1", "south/m", "east/m")
RATES = (0.05, 0.5, 8.0)
"""Calls a second of each day: one in twenty seconds, one in two, and plenty."""
MODES = {Mode.UNARY: 1.0, Mode.STREAM: 1.0}

THRESHOLDS: Mapping[str, Sequence[Any]] = {
    "breaker.consecutive_failures": (1, 2, 3, 5, 8),
    "breaker.consecutive_span_seconds": (0.0, 1.0, 5.0),
    "breaker.consecutive_expiry_seconds": (60.0, 300.0, 1200.0),
    "breaker.failure_ratio": (0.3, 0.5, 0.7),
    "breaker.ratio_minimum_count": (5, 10, 20),
    "breaker.open_seconds": (2.0, 5.0, 10.0, 30.0),
    "breaker.open_max_seconds": (10.0, 25.0, 60.0, 300.0),
    "breaker.recovery_successes": (1, 2, 3),
    "breaker.ramp_seconds": (0.0, 10.0, 30.0, 90.0),
    "health.endpoint_failures": (2, 3, 5),
    "health.suspect_attempts": (3, 5, 1000),
    "health.suspect_factor": (2.0, 3.0, 5.0),
    "health.local_network_seconds": (2.0, 5.0, 15.0),
    "health.cooldown_seconds": (2.0, 5.0, 15.0),
    "health.cooldown_max_seconds": (20.0, 60.0, 300.0),
    "health.authentication_out_seconds": (20.0, 60.0, 180.0),
    "first_token_minimum_seconds": (5.0, 10.0, 20.0),
    "first_token_factor": (2.0, 4.0, 8.0),
    "idle_timeout_seconds": (10.0, 20.0, 40.0),
    "attempt_share": (0.4, 0.6, 0.8),
    "max_attempts": (2, 3, 4, 6),
    "retry_budget_ratio": (0.05, 0.2, 0.5),
    "quick_retry_max_seconds": (0.1, 0.2, 1.0),
}
"""Each with its default among the values."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What a value was worth, over all days."""

    calls: int
    failed: int
    attempts: int
    wasted: int
    """Attempts at targets that could not answer."""
    seconds: float
    """Mean time of a call that was answered."""
    p95_seconds: float
    preferred: float
    """Share of the calls that went to the preferred target while it was well."""

    def __str__(self) -> str:
        answered = max(1, self.calls - self.failed)
        return (
            f"{100 * answered / self.calls:7.2f} % {self.attempts / answered:8.3f} {self.wasted:7d} "
            f"{self.seconds:8.3f} {self.p95_seconds:8.2f} {100 * self.preferred:8.1f} %"
        )


HEADING = f"{'':42s} {'answered':>9s} {'attempts':>8s} {'wasted':>7s} {'mean s':>8s} {'p95 s':>8s} {'preferred':>10s}"


def days(rate: float, calls: int, targets: Sequence[str] = TARGETS) -> list[Scenario]:
    """Returns the days: one trouble each, in the middle fifth to half of the time, and one without any."""
    seconds = calls / rate
    start, short, long = 0.2 * seconds, 0.2 * seconds, 0.5 * seconds
    north = [
        Spell(trouble=Trouble.DARK, start=start, end=start + short, where="north"),
        Spell(trouble=Trouble.BLACK_HOLE, start=start, end=start + short, where="north"),
        Spell(trouble=Trouble.HANG, start=start, end=start + short, where="north"),
        Spell(trouble=Trouble.HANG, start=start, end=start + short, where="north/m-0"),
        Spell(trouble=Trouble.BROWN_OUT, start=start, end=start + long, where="north", share=0.3),
        Spell(trouble=Trouble.BROWN_OUT, start=start, end=start + long, where="north", share=0.8),
        Spell(trouble=Trouble.OVERLOAD, start=start, end=start + long, where="north", share=1.0, every_seconds=20.0),
        Spell(trouble=Trouble.DARK, start=start, end=start + long, where="north", every_seconds=120.0),
        Spell(trouble=Trouble.BARE_LIMIT, start=start, end=start + long, where="north"),
        Spell(trouble=Trouble.STALL, start=start, end=start + long, where="north", share=0.2),
        Spell(trouble=Trouble.CUT, start=start, end=start + long, where="north", share=0.2),
        Spell(trouble=Trouble.FALSE_401, start=start, end=start + short, where="north", share=0.5),
        Spell(trouble=Trouble.NETWORK_LOSS, start=start, end=start + 5.0, where=""),
        Spell(trouble=Trouble.SLOW, start=start, end=start + short, where="north"),
    ]
    traffic = Traffic(calls_per_second=rate, deadlines=(120.0,), modes=MODES, prompt_bytes=(400,))
    tempers = {name: Temper(tail_share=0.01) for name in ("north", "south", "east")}
    base = Scenario(targets=targets, seconds=seconds, traffic=traffic, tempers=tempers)
    return [base, *(replace(base, spells=(spell,)) for spell in north)]


def settings_with(threshold: str, value: Any) -> Settings:
    """Returns the defaults with one threshold changed."""
    failover = FailoverSettings()
    block, _, name = threshold.rpartition(".")
    if block:
        changed: dict[str, Any] = {block: replace(getattr(failover, block), **{name: value})}
    else:
        changed = {name: value}
    return replace(BY_PRIORITY, failover=replace(failover, **changed))


def worth(worlds: Sequence[World]) -> Worth:
    """Adds worlds up."""
    calls = [(world, called) for world in worlds for called in world.calls]
    answered = sorted(called.ended - called.started for _, called in calls if called.error is None)
    wasted = attempts = at_preferred = preferred_well = 0
    for world in worlds:
        weather = world.providers.weather
        for one in world.sidecars:
            attempts += len(one.watch.begun)
            for begun in one.watch.begun:
                troubles = weather.now(begun.target, one.name, begun.at)
                wasted += not troubles.keys().isdisjoint(DEAD)
        for called in world.calls:
            if weather.well(TARGETS[0], called.sidecar, called.started, called.ended):
                preferred_well += 1
                at_preferred += called.target == TARGETS[0]
    return Worth(
        calls=len(calls),
        failed=len(calls) - len(answered),
        attempts=attempts,
        wasted=wasted,
        seconds=sum(answered) / len(answered),
        p95_seconds=answered[int(0.95 * len(answered))],
        preferred=at_preferred / max(1, preferred_well),
    )


DEAD = frozenset({Trouble.DARK, Trouble.BLACK_HOLE, Trouble.HANG, Trouble.NETWORK_LOSS})


def main(arguments: Sequence[str]) -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.sweep", description=__doc__)
    parser.add_argument("thresholds", nargs="*", default=list(THRESHOLDS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--calls", type=int, default=300, help="in each day")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="calls a second")
    parser.add_argument("--alone", action="store_true", help="there is one target only, and nothing to fail over to")
    given = parser.parse_args(arguments)
    default = FailoverSettings()
    targets = TARGETS[:1] if given.alone else TARGETS
    for rate in given.rates:
        sys.stdout.write(f"\n{rate:g} calls a second\n{HEADING}\n")
        for threshold in given.thresholds:
            for value in THRESHOLDS[threshold]:
                settings = settings_with(threshold, value)
                worlds = [
                    run(live(replace(day, settings=settings), f"sweep-{seed}"))
                    for seed in range(given.seeds)
                    for day in days(rate, given.calls, targets)
                ]
                mark = "*" if settings.failover == default else " "
                sys.stdout.write(f"{threshold:34s} {value:6g}{mark} {worth(worlds)}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
