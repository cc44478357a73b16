"""The static order: the targets that a configuration names for the time when neither sidecar nor any plan is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from turnout.targets import allowed, parse_target
from turnout.v1 import router_pb2 as pb

Targets = Sequence[str | pb.Target]
Fallback = Targets | Mapping[str, Targets]
"""Targets in order, best first; or by task, with "" for all other tasks."""

MAX_TARGET_COUNT = 256
"""In one list; a request's `include` may name as many."""


class StaticOrder:
    """The targets to fall back on by task. Raises ValueError for what is no list of targets."""

    def __init__(self, fallback: Fallback | None = None) -> None:
        by_task = fallback if isinstance(fallback, Mapping) else {"": () if fallback is None else fallback}
        self._by_task = {task: _candidates(targets, task) for task, targets in by_task.items()}

    def candidates(self, request: pb.RouteRequest) -> tuple[pb.Candidate, ...]:
        """Returns the targets for a request, without those that its own options rule out; empty for none."""
        found = self._by_task.get(request.profile.task)
        if found is None:
            found = self._by_task.get("", ())
        return allowed(found, request.options)


def _candidates(targets: Targets, task: str) -> tuple[pb.Candidate, ...]:
    where = f"fallback[{task!r}]" if task else "fallback"
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        msg = (
            f'{where} is {targets!r}: give a list of targets, such as ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"]'
        )
        raise ValueError(msg)  # noqa: TRY004 - every mistake in an argument of a client is a ValueError
    if len(targets) > MAX_TARGET_COUNT:
        msg = f"{where} has {len(targets)} targets: give at most {MAX_TARGET_COUNT}"
        raise ValueError(msg)
    found = []
    for place, target in enumerate(targets):
        try:
            found.append(target if isinstance(target, pb.Target) else parse_target(str(target)))
        except ValueError as error:
            msg = f"{where}[{place}]: {error}"
            raise ValueError(msg) from None
        if not found[-1].provider or not found[-1].model:
            msg = f"{where}[{place}] lacks its provider or model"
            raise ValueError(msg)
    return tuple(pb.Candidate(target=target) for target in found)
