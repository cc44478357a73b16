"""Whether what has recovered is used again: told by the calls, not by the breakers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from tests.simulation.callers import Called
from tests.simulation.sidecars import Sidecar
from tests.simulation.troubles import Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import World
from turnout_server.core.model import Strategy

AGAIN_SECONDS = 30.0
"""After its breaker has closed a target is used as before: the length of the ramp."""
LAST_OPENING_SECONDS = 30.0
"""The longest open time, its jitter included."""
TRIAL_SECONDS = 35.0
"""A trial that began in the old trouble may tell of it so much later."""
COOL_DOWN_SECONDS = 75.0
"""The longest pause after a limit without a word."""
KEY_OUT_SECONDS = 600.0
SLOW_SECONDS = 1800.0
"""What was slow is believed to be so for up to ten minutes, and met again slow once or twice until it is not."""
HURRY_SECONDS = 30.0
"""With less time than that a call may go to a quicker target."""
TRIALS_NEEDED = 8
"""So many calls after the last opening give two trials their chance, as every call may carry one."""


def unused_though_well(world: World) -> Iterator[str]:
    """Where the operator's order decides, calls go to the first target that has been well for long enough."""
    strategy = world.scenario.traffic.strategy
    by_order = world.scenario.settings.routing.policies["default"].strategy is Strategy.PRIORITY
    if strategy is not None or not by_order:
        return
    for one in world.sidecars:
        calls = world.calls_of(one)
        times = [called.started for called in calls]
        for called in calls:
            line = _unused(world, one, called, times)
            if line:
                yield line
                break


def _unused(world: World, one: Sidecar, called: Called, times: list[float]) -> str:
    # A hedge goes elsewhere on purpose; what it was made beside is what was used.
    made = [str(attempt.target) for attempt in called.attempts if not attempt.hedge]
    used = next(iter(called.planned or made), "")
    deadline = called.wish.deadline
    if not used or (deadline is not None and deadline < HURRY_SECONDS):
        return ""
    for name in _before(used, world, called):
        since = world.providers.weather.well_since(name, one.name, called.started)
        temper = world.scenario.temper(name)
        # One late answer may be reason enough to ask another for a while.
        if since is None or temper.silent_thinking_seconds or temper.tail_share:
            continue
        # What was never in trouble since the beginning is simply to be used.
        waits = _wait_seconds(world) if since else 0.0
        from_then = since + waits
        enough = not since or bisect_left(times, called.started) - bisect_left(times, from_then) >= TRIALS_NEEDED
        if called.started >= from_then + (AGAIN_SECONDS if since else 0.0) and enough:
            return f"a recovered target is used again: {called} went to {used}, {name} is well since {since:.1f} s"
    return ""


def _before(used: str, world: World, called: Called) -> Sequence[str]:
    """Returns the targets that come before the one used: by the regions of the call, then by the operator's order."""
    ranks, regions = world.scenario.ranks, called.wish.held_to
    if not regions:
        return world.scenario.targets[: ranks[used]]

    def place(name: str) -> tuple[int, int]:
        return regions.index(name.partition("@")[2]), ranks[name]

    allowed = sorted(filter(called.wish.allows, world.scenario.targets), key=place)
    return allowed[: allowed.index(used)] if used in allowed else ()


def _wait_seconds(world: World) -> float:
    troubles = {spell.trouble for spell in world.scenario.spells}
    seconds = LAST_OPENING_SECONDS + TRIAL_SECONDS
    if world.scenario.traffic.modes.get(Mode.ADVISED) and world.scenario.traffic.silent_share:
        # A trial that is never reported holds its place until the plan and the attempt would be over.
        seconds += 2 * TRIAL_SECONDS
    if not troubles.isdisjoint({Trouble.SLOW, Trouble.BROWN_OUT}):
        seconds += SLOW_SECONDS
    if Trouble.FALSE_401 in troubles:
        seconds += KEY_OUT_SECONDS
    return seconds + COOL_DOWN_SECONDS
