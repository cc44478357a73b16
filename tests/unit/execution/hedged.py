"""Calls that may be hedged, in a scripted world, and short ways to tell what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.unit.execution.scripted import Script, World, answer, asking, chat
from turnout_server.core.call import AttemptRecord
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, RouteQuery
from turnout_server.core.settings import Policy

HEDGING = Policy(hedge=True)
LATE = 1.5
"""1.5 times the prior of a scripted target, which is a second; the prompt adds next to nothing."""
SOON = pytest.approx(LATE, abs=0.001)
QUICK = answer("quick")
SLOW = answer("slow", first_after=5.0)


def hedged(*scripts: Script, policy: Policy = HEDGING, **facts: object) -> World:
    """A world of targets a/m, b/m and so on, each with one script."""
    targets: dict[str | TargetSpec, list[Script]] = {
        f"{name}/m": [script] for name, script in zip("abcd", scripts, strict=False)
    }
    return World(targets, policy=policy, **facts)  # type: ignore[arg-type]  # as `World` takes them


async def execute(world: World, query: RouteQuery | None = None) -> tuple[AttemptRecord, ...]:
    return (await world.executor.execute(query or asking(), chat())).attempts


def told(attempts: tuple[AttemptRecord, ...]) -> list[tuple[str, FailureKind | None, bool]]:
    return [(str(attempt.target), attempt.failure, attempt.hedge) for attempt in attempts]


def busy(world: World) -> World:
    """The same, with many other calls about, so that more than one hedge is allowed."""
    for _ in range(100):
        world.router.further_attempts.hedgeable_call()
    return world


def in_flight(world: World) -> int:
    return sum(target.in_flight for target in world.router.state.targets)


def suspect(world: World) -> None:
    world.router.state.targets[1].suspects._flagged = True


def drained(world: World) -> None:
    world.router.state.set_drained(1, drained=True)


class Clinging:
    """A provider whose connection takes long to close."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.closed = False

    async def stream(self, call: object) -> AsyncGenerator[object]:  # noqa: ARG002  # the port's name
        try:
            await asyncio.sleep(100.0)
            yield []
        finally:
            await asyncio.sleep(self._seconds)

    async def aclose(self) -> None:
        self.closed = True
