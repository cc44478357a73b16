"""What must hold of every world, whatever its providers did: each rule returns what breaks it, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.simulation.sidecars import EXACT, Begun, Sidecar
from tests.simulation.world import Called, World, was_interrupted
from turnout_server.core.errors import AllTargetsUnavailableError
from turnout_server.core.model import FailureKind

UNLIMITED_SECONDS = 600.0
"""What a call without a deadline gets; a stream may go on for longer once it has begun, which none here does."""
ROOM_SECONDS = 100.0
"""A call with so much time can outlast three silent targets and still be answered by the fourth."""
KNOWN_TROUBLES = 3
"""With more targets in trouble than attempts but one, a call may run out of attempts."""
BUDGET_SHARE, BUDGET_FLOOR = 0.2, 3
BUDGET_SECONDS, WHOLE_BUCKETS_SECONDS = 10.0, 9.0
"""The budget counts in buckets of a second: what it calls 10 s are at least 9."""
QUICK_RETRIED = frozenset({FailureKind.SERVER_ERROR, FailureKind.CONNECTION})
"""Failures after which the same target is tried again, out of the retry budget."""


def all_broken(world: World) -> list[str]:
    """Returns everything that is wrong with a world that has run."""
    return [
        *world.broken,
        *_ended_once_in_time(world),
        *_healthy_reached(world),
        *_retries_within_budget(world),
        *_nothing_left(world),
        *_accounts(world),
        *_bounded(world),
    ]


def _ended_once_in_time(world: World) -> Iterator[str]:
    for called in world.calls:
        limit = UNLIMITED_SECONDS if called.deadline is None else called.deadline
        if called.end_count != 1:
            yield f"a call ends once: {_of(called)} ended {called.end_count} times"
        elif called.ended - called.started > limit + EXACT:
            yield f"a call ends by its deadline: {_of(called)} took {called.ended - called.started:.3f} s"


def _healthy_reached(world: World) -> Iterator[str]:
    names = world.scenario.targets
    for called in world.calls:
        end = called.ended
        well = [
            name for name in called.usable if world.providers.well(name, called.started - ROOM_SECONDS, end + EXACT)
        ]
        troubled = sum(not world.providers.well(name, called.started, end + EXACT) for name in names)
        room = called.deadline is None or called.deadline >= ROOM_SECONDS
        if called.error is None or called.bad or not well or not room or troubled > KNOWN_TROUBLES:
            continue
        if not was_interrupted(called):
            yield f"a healthy target is reached: {_of(called)} failed with {called.error!r}, {well} was there"


def _retries_within_budget(world: World) -> Iterator[str]:
    for each in world.sidecars:
        retries = [b for b in each.watch.begun if b.after in QUICK_RETRIED]
        requests = sorted(called.started for called in world.calls if called.sidecar == each.watch.name)
        for i, first in enumerate(retries):
            end = first.at + WHOLE_BUCKETS_SECONDS
            burst = [b for b in retries[i:] if b.at < end]
            # Whatever 10 s the budget looked at, their requests lie within these 19 s.
            seen = sum(first.at - BUDGET_SECONDS <= at <= end for at in requests)
            allowed = max(BUDGET_FLOOR, BUDGET_SHARE * seen) + 1
            if len(burst) > allowed:
                yield f"{each.watch.name}: {len(burst)} retries in 9 s from {first.at:.3f} s on, {allowed:.1f} allowed"
                break


def _nothing_left(world: World) -> Iterator[str]:
    for each in world.sidecars:
        if each.router.unfinished:
            yield f"{each.watch.name}: {each.router.unfinished} attempts never ended"
        in_flight = [target.spec.name for target in each.router.state.targets if target.in_flight]
        if in_flight:
            yield f"{each.watch.name}: still in flight at the end: {in_flight}"


def _accounts(world: World) -> Iterator[str]:
    for each in world.sidecars:
        name = each.watch.name
        paid = sum(record.cost_nano_usd or 0 for record in each.watch.attempts)
        told = sum(a.cost_nano_usd or 0 for c in world.calls if c.sidecar == name for a in c.attempts)
        probes = sum(record.cost_nano_usd or 0 for record in each.watch.attempts if record.retry_reason == "probe")
        cancelled = _attempts_untold(world, each)
        if not cancelled and paid != told + probes:
            yield f"{name}: attempts cost {paid} nano-USD, callers were told of {told}, probes cost {probes}"
    served = sum(1 for s in world.providers.served)
    begun = sum(len(each.watch.begun) for each in world.sidecars)
    if served != begun:
        yield f"{begun} attempts began, providers saw {served}"


def _attempts_untold(world: World, each: Sidecar) -> bool:
    """Whether a call ended with an error that tells of no attempts, though some were made."""
    return any(
        c.error is not None and not c.attempts and not isinstance(c.error, AllTargetsUnavailableError)
        for c in world.calls
        if c.sidecar == each.watch.name
    )


def _bounded(world: World) -> Iterator[str]:
    for each in world.sidecars:
        used = each.router.state.history.size_bytes
        if used > world.scenario.settings.history_max_bytes:
            yield f"{each.watch.name}: the history holds {used} bytes"


def attempts_by_call(begun: list[Begun]) -> dict[str, list[Begun]]:
    """Returns the attempts of each call, in order."""
    found: dict[str, list[Begun]] = defaultdict(list)
    for each in begun:
        found[each.call_id].append(each)
    return found


def gaps(moments: list[float]) -> list[float]:
    """Returns the times between one moment and the next."""
    return [later - earlier for earlier, later in pairwise(moments)]


def _of(called: Called) -> str:
    kind = "stream" if called.streamed else "unary call"
    return f"the {kind} of {called.sidecar} at {called.started:.3f} s (deadline {called.deadline})"
