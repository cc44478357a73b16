"""What differs between two configurations, told by keys and never by values: some of those are secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from turnout_server.config.faults import Path, dotted
from turnout_server.config.schema import Configuration
from turnout_server.config.taking import Taken, when

LISTED_MAXIMUM = 50
"""Keys that are told; of more, how many there are."""

NEW, GONE = " (new)", " (gone)"
TABLES = frozenset({("routing", "policies"), ("routing", "tiers"), ("catalog", "models"), ("telemetry", "request_log")})
"""Blocks that are told by what is in them even where they are new."""
NOTHING: Mapping[str, Any] = {}


def changed_keys(before: Configuration, after: Configuration) -> tuple[str, ...]:
    """Returns the keys whose values were changed, as they are written, with what is new or gone marked as such.

    Keys that wait for a restart are left out. A value that was not given and one that is given as its default differ:
    what a policy inherits depends on that, and which providers there are on whether there is a block of them.
    """
    old, new = before.model_dump(exclude_unset=True), after.model_dump(exclude_unset=True)
    found: list[str] = [] if ("providers" in old) == ("providers" in new) else ["providers"]
    for block in {**old, **new}:
        one, other = old.get(block), new.get(block)
        if isinstance(one or other, Mapping):
            one, other = one or {}, other or {}
        found += _differing(one, other, (block,))
    return tuple(found)


def listed(keys: tuple[str, ...]) -> str:
    """Returns keys for people, in one line of bounded length."""
    few = ", ".join(keys[:LISTED_MAXIMUM])
    return few if len(keys) <= LISTED_MAXIMUM else f"{few} and {len(keys) - LISTED_MAXIMUM} more"


def _differing(before: Any, after: Any, path: Path) -> Iterator[str]:
    before, after = _by_name(before), _by_name(after)
    if before == after or _waits(path):
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield dotted(path)
        return
    for key in {**before, **after}:
        here = (*path, key)
        if (key in before and key in after) or here in TABLES:
            yield from _differing(before.get(key, NOTHING), after.get(key, NOTHING), here)
        elif not _waits(here):
            yield dotted(here) + (GONE if key in before else NEW)


def _waits(path: Path) -> bool:
    try:
        return when(path) is Taken.RESTART
    except KeyError:
        # A block of which some keys are taken at once.
        return False


def _by_name(value: Any) -> Any:
    """Returns a list of named blocks as a table: one that is put in front of others is new, and they are the same."""
    if not (isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value)):
        return value
    names = [each.get("name") for each in value]
    if None in names or len(set(names)) < len(names):
        return value
    return dict(zip(names, value, strict=True))
