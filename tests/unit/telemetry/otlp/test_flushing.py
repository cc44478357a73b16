"""What is sent at the end fits into the time that a Pod has to stop in, and a slow exporter keeps no other waiting."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.virtual_time import run
from turnout_server.telemetry.otlp.flushing import FLUSH_SECONDS, Flushing

DRAIN_SECONDS = 25.0
GRACE_SECONDS = 30.0


class Slow:
    """Takes all the time that it is given."""

    def __init__(self) -> None:
        self.flush_seconds = 0.0
        self.closed_at = 0.0

    async def aclose(self) -> None:
        await asyncio.sleep(self.flush_seconds)
        self.closed_at = asyncio.get_running_loop().time()


def test_all_are_closed_at_once() -> None:
    async def closing() -> list[float]:
        loop = asyncio.get_running_loop()
        flushing, exporters = Flushing(loop.time), [Slow(), Slow()]
        for exporter in exporters:
            flushing.add(exporter)
        began_at = loop.time()
        await flushing.aclose()
        return [exporter.closed_at - began_at for exporter in exporters]

    assert run(closing()) == [FLUSH_SECONDS] * 2


@pytest.mark.parametrize(
    ("stopped_after", "expected"),
    [
        # Nothing ran, or calls ended by themselves: all the time there is to be.
        (0.0, 3.0),
        (10.0, 3.0),
        # Calls were cut a second before the end of the drain, and their callers took that at once.
        (24.5, 3.0),
        # Callers did not read, watchers did not leave: less is left, but never nothing.
        (26.5, 2.0),
        (28.0, 0.5),
        (60.0, 0.5),
    ],
)
def test_what_the_stop_has_used_up_is_not_used_again(stopped_after: float, expected: float) -> None:
    now = 100.0
    flushing = Flushing(lambda: now)
    flushing.stopping(DRAIN_SECONDS)
    now += stopped_after

    assert flushing.seconds() == expected


def test_until_then_the_end_stays_within_a_pods_time() -> None:
    now = 0.0
    flushing = Flushing(lambda: now)
    flushing.stopping(DRAIN_SECONDS)
    ends = []
    for tenth in range(290):
        now = tenth / 10
        ends.append(now + flushing.seconds())

    assert max(ends) < GRACE_SECONDS
    assert all(one <= other for one, other in pairwise(ends))
