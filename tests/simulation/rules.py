"""What must hold of every world, whatever its providers did: each rule returns what breaks it, in words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.simulation.accounts import wrong_accounts
from tests.simulation.callers import Called
from tests.simulation.memory import out_of_bounds
from tests.simulation.recovery import unused_though_well
from tests.simulation.sidecars import Sidecar
from tests.simulation.troubles import UNREACHABLE, Spell
from tests.simulation.watch import EXACT, ROUNDED
from tests.simulation.wishes import Mode
from tests.simulation.world import World, target_of
from tests.virtual_time import WALL_EPOCH
from turnout_server.core.errors import StreamInterruptedError
from turnout_server.core.events import EventName
from turnout_server.core.hedging import HEDGE_SHARE
from turnout_server.core.model import CREDENTIAL_FAILURES, NANO_USD

UNLIMITED_SECONDS = 600.0
"""What a call without a deadline gets; a stream may go on for longer once it has begun, which none here does."""
ROOM_SECONDS = 100.0
"""A call with so much time can outlast three silent targets and still be answered by the fourth."""
KNOWN_TROUBLES = 3
"""With more targets in trouble than attempts but one, a call may run out of attempts."""
BUDGET_SHARE, BUDGET_FLOOR = 0.2, 3
BUDGET_SECONDS, WHOLE_BUCKETS_SECONDS = 10.0, 9.0
"""The budget counts in buckets of half a second: what it calls 10 s are at least 9."""
HEDGE_WINDOW_SECONDS, WHOLE_HEDGE_BUCKETS_SECONDS = 60.0, 57.0
DARK_ATTEMPTS = 4
"""So many attempts a dark endpoint costs at most, of those begun after its first failure is known."""


def all_broken(world: World) -> list[str]:
    """Returns everything that is wrong with a world that has run."""
    return [
        *world.broken,
        *not_ended_once_in_time(world),
        *healthy_missed(world),
        *retries_beyond_budget(world),
        *hedges_beyond_share(world),
        *left_behind(world),
        *costly_darkness(world),
        *outside_its_regions(world),
        *dearer_than_its_cap(world),
        *unused_though_well(world),
        *wrong_accounts(world),
        *out_of_bounds(world),
    ]


def not_ended_once_in_time(world: World) -> Iterator[str]:
    """Every call ends by its deadline, once."""
    for called in world.calls:
        deadline = called.wish.deadline
        limit = UNLIMITED_SECONDS if deadline is None else deadline
        if called.end_count != 1:
            yield f"a call ends once: {called} ended {called.end_count} times"
        elif called.ended - called.started > limit + EXACT:
            yield f"a call ends by its deadline: {called} took {called.ended - called.started:.3f} s"


def healthy_missed(world: World) -> Iterator[str]:
    """A call that could have been served by a healthy target is served.

    In advise mode, such a target stands in the plan. An answer that broke after its content had begun cannot be saved
    under the policy FAIL.
    """
    for called in world.calls:
        # What a cap allows is the business of another rule.
        capped = called.wish.max_cost_usd is not None
        if capped or called.wish.bad or called.gone or not _could_be_served(world, called):
            continue
        well = [name for name in called.usable if _stays_well(world, called, name)]
        if called.wish.mode is Mode.ADVISED:
            if not set(well) <= set(called.planned):
                yield f"a healthy target is in the plan: {called} got {called.planned}, {well} are well"
        elif called.error is not None and well and not isinstance(called.error, StreamInterruptedError):
            yield f"a healthy target is reached: {called} failed with {called.error!r}, {well} was there"


def _could_be_served(world: World, called: Called) -> bool:
    """Whether it has the time to outlast silent targets, and no more of them than attempts; one may be a trial."""
    deadline = called.wish.deadline
    if deadline is not None and deadline < ROOM_SECONDS:
        return False
    weather, end = world.providers.weather, called.ended + EXACT
    troubled = sum(not weather.well(name, called.sidecar, called.started, end) for name in called.usable)
    trial = len(called.usable) < len(world.scenario.targets)
    return troubled + trial <= KNOWN_TROUBLES


def _stays_well(world: World, called: Called, name: str) -> bool:
    """Whether a target was well for long before, and quick enough by nature for what other attempts leave of the time.

    A stream that was begun before may tell of old troubles later.
    """
    weather, end = world.providers.weather, called.ended + EXACT
    quick = world.scenario.temper(name).silent_thinking_seconds == 0.0 or called.wish.deadline is None
    return quick and weather.well(name, called.sidecar, called.started - ROOM_SECONDS, end)


def retries_beyond_budget(world: World) -> Iterator[str]:
    """Using a target again in the same call, with the same key or after a fault of the target's own, is rationed."""
    for one in world.sidecars:
        retries = [
            b for b in one.watch.begun if b.after is not None and (b.same_key or b.after not in CREDENTIAL_FAILURES)
        ]
        if not retries:
            continue
        requests = [c.started for c in world.calls_of(one) if c.wish.mode is not Mode.ADVISED]
        times = [retry.at for retry in retries]
        for i, first in enumerate(times):
            end = first + WHOLE_BUCKETS_SECONDS
            count = bisect_left(times, end) - i
            # Whatever 10 s the budget looked at, their requests lie within these 19 s.
            seen = bisect_right(requests, end) - bisect_left(requests, first - BUDGET_SECONDS)
            allowed = max(BUDGET_FLOOR, BUDGET_SHARE * seen) + 1
            if count > allowed:
                yield f"retries stay within budget: {one.name} made {count} in 9 s from {first:.3f} s on"
                break


def hedges_beyond_share(world: World) -> Iterator[str]:
    """Within a minute one call in twenty is hedged at most, and one where there are fewer."""
    for one in world.sidecars:
        times = [event.at for event in one.watch.events if event.name is EventName.HEDGED]
        requests = [c.started for c in world.calls_of(one) if c.wish.mode is not Mode.ADVISED]
        for i, first in enumerate(times):
            end = first + WHOLE_HEDGE_BUCKETS_SECONDS
            count = bisect_left(times, end) - i
            seen = bisect_right(requests, end) - bisect_left(requests, first - HEDGE_WINDOW_SECONDS)
            if count > max(1.0, HEDGE_SHARE * seen):
                yield f"hedges stay within their share: {one.name} made {count} in 57 s from {first:.3f} s on"
                break


def left_behind(world: World) -> Iterator[str]:
    """When every call has ended, nothing is in flight and no attempt is without its end."""
    for one in world.sidecars:
        if one.watch.unfinished:
            yield f"every attempt ends: {one.watch.unfinished} of {one.name} never did"
        in_flight = [target.spec.name for target in one.router.state.targets if target.in_flight]
        if in_flight:
            yield f"nothing stays in flight: at {one.name} {in_flight} does"
        if one.executor._waiting:
            yield f"nobody waits at the end: at {one.name} calls wait for {one.executor._waiting}"


def costly_darkness(world: World) -> Iterator[str]:
    """An endpoint that cannot be reached costs each sidecar at most four attempts once its first failure is known."""
    for spell in world.scenario.spells:
        if spell.trouble in UNREACHABLE and not spell.every_seconds and _alone(world, spell):
            for one in world.sidecars:
                for endpoint, count in _blind_attempts(one, spell).items():
                    if count > DARK_ATTEMPTS:
                        yield f"a dark endpoint costs at most {DARK_ATTEMPTS}: {endpoint} cost {one.name} {count}"


def outside_its_regions(world: World) -> Iterator[str]:
    """Nothing is sent, or planned to be, where the request or its policy does not allow it."""
    for (target, regions), count in world.providers.outside.items():
        yield f"no prompt leaves its regions: {count} for {' or '.join(regions)} came to {target}"
    for called in world.calls:
        strangers = [name for name in called.planned if not called.wish.allows(name)]
        if strangers:
            yield f"no plan names a target outside: {called}, held to {called.wish.held_to}, got {strangers}"


def dearer_than_its_cap(world: World) -> Iterator[str]:
    """No call costs more than its cap, by the books of the providers and over all of its attempts."""
    for called in world.calls:
        cap = called.wish.max_cost_usd
        if cap is None or called.wish.mode is Mode.ADVISED:
            continue
        bills = (world.providers.bills.get(record.attempt_id) for record in called.attempts)
        cost = sum(bill.nano_usd for bill in bills if bill is not None)
        if cost > round(cap * NANO_USD):
            yield f"no call costs more than its cap: {called} cost {cost} nano-USD, its cap is {cap} USD"


def _alone(world: World, dark: Spell) -> bool:
    """Whether nothing else is wrong at these targets, and nobody else is out of reach: that would be our network."""
    dark_targets = [name for name in world.scenario.targets if dark.names(name)]
    if len({name.partition("/")[0] for name in dark_targets}) != 1:
        return False
    for other in world.scenario.spells:
        apart = other.end < dark.start - ROOM_SECONDS or other.start > dark.end
        touches = other.trouble in UNREACHABLE or any(other.names(name) for name in dark_targets)
        if other is not dark and touches and not apart:
            return False
    return True


def _blind_attempts(one: Sidecar, dark: Spell) -> dict[tuple[str, str], int]:
    """Returns by endpoint how many attempts began with closed breakers after the first failure there was known."""
    known: dict[tuple[str, str], float] = {}
    for record in one.watch.attempts:
        ended = record.started_at_wall - WALL_EPOCH + (record.latency_seconds or 0.0)
        if record.failure is not None and dark.names(str(record.target)) and dark.start <= ended < dark.end:
            endpoint = (record.target.provider, record.target.endpoint)
            known[endpoint] = min(ended, known.get(endpoint, ended))
    blind: dict[tuple[str, str], int] = defaultdict(int)
    for begun in one.watch.begun:
        if begun.closed and begun.at < dark.end and dark.names(begun.target):
            target = target_of(begun.target)
            endpoint = (target.provider, target.endpoint)
            blind[endpoint] += begun.at > known.get(endpoint, dark.end) + ROUNDED
    return blind
