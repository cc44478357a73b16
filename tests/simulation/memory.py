"""How much a sidecar holds: every table that can be reached from its state, counted and held against its bound.

Tables are found by walking, not by a list, so that a new one cannot be forgotten: it must keep the general bound, or
have its own written down here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from itertools import islice
from typing import Any

from tests.simulation.sidecars import Sidecar
from tests.simulation.world import World
from turnout_server.core import (
    breaker,
    credentials,
    endpoint,
    gate,
    history,
    local_network,
    once,
    outage,
    prepared,
    shapes,
    state,
    statistics,
    target_state,
    tokens,
    vitals,
)

TABLES = (dict, OrderedDict, list, set, frozenset, deque, tuple)
WALKED_ENTRIES = 64
"""So many entries of each table are looked into."""
SIDECARS_LOOKED_AT = 3
LONGEST_WINDOW_SECONDS = 32
"""The breakers' window of 30 s, the second that runs, and the one that its beginning cuts."""

BOUNDS: Mapping[str, int] = {
    "SeenKeys._times": once.KEYS_MAXIMUM,
    "History._entries": 8 * 1024 * 1024 // history.RECORD_BYTES,
    "SeenKeys._known": once.KEYS_MAXIMUM,
    "SeenKeys._order": once.KEYS_MAXIMUM,
    "_Entry.judgements": history.JUDGEMENTS_MAXIMUM,
    "Breaker._streak": breaker.STREAK_REMEMBERED,
    "Breaker._trials": gate.TRIALS_REMEMBERED,
    "EndpointBreaker._trials": gate.TRIALS_REMEMBERED,
    "EndpointBreaker._failures": endpoint.FAILURES_REMEMBERED,
    "RecentCounts._seconds": LONGEST_WINDOW_SECONDS,
    "RecentQuantile._values": 100,
    "TargetStatistics._minutes": statistics.MINUTES_KEPT,
    "TargetState._unproven": target_state.UNPROVEN_COUNT,
    "Histogram._buckets": 240,
    "LocalNetwork._blamed": local_network.FAILURES_REMEMBERED,
    "Credentials._seen[]": credentials.CALLER_LABELS_MAXIMUM,
    "Outages._by_key": outage.CALLER_KEYS_MAXIMUM,
    "Outages._by_model": outage.CALLER_KEYS_MAXIMUM,
    "Credentials._headroom": outage.CALLER_KEYS_MAXIMUM,
    "TokenRatios._known": tokens.ENTRIES_MAXIMUM,
    "OutputLengths._known": tokens.ENTRIES_MAXIMUM,
    "Affinity._entries": 10_000,
    "Prepared._outputs": prepared.TASKS_MAXIMUM,
    "Shapes._known": shapes.SHAPES_MAXIMUM,
    "Shape._narrowed": shapes.NARROWED_MAXIMUM,
    "Vitals._changes": vitals.CHANGES_REMEMBERED,
    "FleetState._removed_at": state.REMOVED_MAXIMUM,
    # Nothing runs any more when this is looked at.
    "FleetState._running": 0,
    "SuspectWatch._waiting": 0,
    "Executor._waiting": 0,
    "Probing._running": 0,
    "Upstreams._calls": 0,
}
"""By class and attribute; "[]" are the tables in a table."""
GENERAL_BOUND = 4096
"""What has no bound of its own written down here."""


def out_of_bounds(world: World) -> Iterator[str]:
    """Every table of a sidecar keeps its bound, and the history its bytes."""
    for one in world.sidecars[:SIDECARS_LOOKED_AT]:
        most = world.scenario.settings.history_max_bytes
        used = one.router.state.history.size_bytes
        if used > most:
            yield f"memory is bounded: the history of {one.name} holds {used} bytes, {most} are allowed"
        attempts = [len(entry.record.attempts) for entry in one.router.state.history._entries.values()]
        if max(attempts, default=0) > history.ATTEMPTS_MAXIMUM:
            yield f"memory is bounded: a decision of {one.name} has {max(attempts)} attempts"
        for path, count in sizes(one).items():
            bound = BOUNDS.get(path, GENERAL_BOUND)
            if count > bound:
                yield f"memory is bounded: {path} of {one.name} has {count} entries, {bound} are allowed"


def sizes(one: Sidecar) -> dict[str, int]:
    """Returns the number of entries of every table, the largest of each name."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("FleetState", one.router.state), ("Executor", one.executor)]
    while waiting:
        path, thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, TABLES) and not hasattr(thing, "_fields"):
            found[path] = max(found.get(path, 0), len(thing))
            entries = thing.values() if isinstance(thing, Mapping) else thing
            waiting += [(f"{path}[]", entry) for entry in islice(entries, WALKED_ENTRIES)]
        elif _is_state(thing):
            name = type(thing).__name__
            waiting += [(f"{name}.{attribute}", value) for attribute, value in _attributes(thing)]
    return found


def _is_state(thing: Any) -> bool:
    """Whether it is an object of ours that changes: values, and what is configured, hold no tables."""
    kind = type(thing)
    if not kind.__module__.startswith("turnout_server") or kind.__name__ in {"Fleet", "Facts"}:
        return False
    return not (is_dataclass(thing) and kind.__dataclass_params__.frozen)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    names: set[str] = set(getattr(thing, "__dict__", ()))
    for kind in type(thing).__mro__:
        names |= set(getattr(kind, "__slots__", ()))
    for name in sorted(names):
        if hasattr(thing, name):
            yield name, getattr(thing, name)
