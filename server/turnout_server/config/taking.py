"""Which keys of a changed configuration are taken while the sidecar runs, and which it has to be started anew for.

Every key of the schema is in exactly one of these blocks, or names: a test holds that, and docs/reload.md to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from turnout_server.config.faults import Path, dotted
from turnout_server.config.schema import Configuration

S = TypeVar("S", bound=BaseModel)


class Taken(StrEnum):
    """When a changed value has its effect."""

    AT_ONCE = "at once"
    RESTART = "needs a restart"


WHEN: Mapping[str, Taken] = MappingProxyType(
    {
        # What routing is made of is built anew and put in place whole, whatever there is in these blocks.
        "providers": Taken.AT_ONCE,
        "catalog": Taken.AT_ONCE,
        "routing": Taken.AT_ONCE,
        "failover": Taken.AT_ONCE,
        "budgets": Taken.AT_ONCE,
        "history.max_mib": Taken.AT_ONCE,
        "limits.max_concurrent_calls": Taken.AT_ONCE,
        "limits.max_queue": Taken.AT_ONCE,
        "limits.max_inflight_mib": Taken.AT_ONCE,
        "telemetry.log_level": Taken.AT_ONCE,
        "telemetry.access_log": Taken.AT_ONCE,
        "telemetry.request_log": Taken.AT_ONCE,
        "alerts": Taken.AT_ONCE,
        "checks": Taken.AT_ONCE,
        "admin": Taken.AT_ONCE,
        "drain_seconds": Taken.AT_ONCE,
        # Bound, opened or handed to a library once.
        "listen": Taken.RESTART,
        "health.address": Taken.RESTART,
        "metrics.address": Taken.RESTART,
        "limits.max_message_mib": Taken.RESTART,
        "telemetry.log_format": Taken.RESTART,
        "telemetry.metrics_profile": Taken.RESTART,
        "state": Taken.RESTART,
    }
)
"""By key, or by block where it holds for all that is in it."""


def when(path: Path) -> Taken:
    """Returns when a change at a path is taken. KeyError where the path is in no block: it has to be put in one."""
    for end in range(len(path), 0, -1):
        found = WHEN.get(".".join(str(part) for part in path[:end]))
        if found is not None:
            return found
    raise KeyError(dotted(path))


def as_taken(new: Configuration, present: Configuration) -> tuple[Configuration, tuple[str, ...]]:
    """Returns the configuration that can be taken now, and the keys of `new` that wait for a restart.

    Those have the values of `present`, which is in force.
    """
    taken = new
    waiting: list[str] = []
    for key, how in WHEN.items():
        if how is not Taken.RESTART:
            continue
        parts = key.split(".")
        before, after = _value(present, parts), _value(new, parts)
        if before != after:
            taken = _with(taken, parts, before)
            waiting += _differing(before, after, key)
    return taken, tuple(waiting)


def _value(section: Any, parts: list[str]) -> Any:
    for part in parts:
        section = getattr(section, part)
    return section


def _with(section: S, parts: list[str], value: Any) -> S:
    head, *rest = parts
    return section.model_copy(update={head: _with(getattr(section, head), rest, value) if rest else value})


def _differing(before: Any, after: Any, key: str) -> list[str]:
    """Returns the keys within a block whose values differ."""
    if not isinstance(before, BaseModel):
        return [key] if before != after else []
    names = type(before).model_fields
    return [each for name in names for each in _differing(getattr(before, name), getattr(after, name), f"{key}.{name}")]
