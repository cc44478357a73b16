"""A provider that is dead gets one attempt per open window, and is used again soon after it has come back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tests.conduct.before_providers import COMPLETE, PROMPT, Asked, Clock, ask, before, watched
from turnout_server.core.events import EventName
from turnout_server.core.settings import BreakerSettings, FailoverSettings
from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.server import SimulatedServer

DEAD_SECONDS = 60.0
EVERY_SECONDS = 4.0
BACK_WITHIN_SECONDS = 30.0
REALLY_SILENT_SECONDS = 2.0
SILENT_SECONDS = 0.4
BREAKER = BreakerSettings()
LEAST_OPEN_SECONDS = BREAKER.open_seconds * (1.0 - BREAKER.open_jitter)
FAULTS = {
    "error": {"kind": FaultKind.ERROR, "status": 500},
    "overload": {"kind": FaultKind.ERROR, "status": 503},
    "reset": {"kind": FaultKind.RESET},
    "silence": {"kind": FaultKind.SILENCE},
}


OPENED = {EventName.BREAKER_OPENED, EventName.ENDPOINT_OPENED}


@dataclass(kw_only=True)
class Lived:
    """What was seen of one outage, in seconds since its beginning."""

    arrived: list[float] = field(default_factory=list)
    """Requests at the primary while it was dead."""
    opened: list[float] = field(default_factory=list)
    """When a breaker of the primary opened while it was dead."""
    got: list[Asked] = field(default_factory=list)
    back_with_call: int = 0
    """The call after the recovery that the primary answered, 1 the first: one comes every four seconds, and how long
    each takes is the machine's business."""


async def live_through(fault: str, *, really: bool) -> Lived:
    lived, clock = Lived(), Clock()
    limits = FailoverSettings(first_token_timeout_seconds=REALLY_SILENT_SECONDS if really else SILENT_SECONDS)
    # Only where silence is what is tried is there a short limit: a busy machine may hold up any answer.
    patient = {"second"} if fault == "silence" else {"primary", "second"}
    async with SimulatedServer(dict.fromkeys(("primary", "second"), PROMPT)) as server:
        urls = {name: server.base_url(name) for name in server.providers}
        async with before(urls, clock=clock, failover=limits, patient=patient) as sidecar:
            primary = server.providers["primary"]
            times = watched(primary, clock)
            server.change("primary", fault=FAULTS[fault])
            began_at = clock()

            calls_before = 0

            async def call_until(seconds: float, *, back: bool) -> None:
                count = len(lived.got)
                while clock() < began_at + seconds:
                    answer = await ask(sidecar, streaming=len(lived.got) % 2 == 0)
                    lived.got.append(answer)
                    if back and answer.providers[-1] == "primary":
                        lived.back_with_call = len(lived.got) - calls_before
                        return
                    count += 1
                    while not really and primary.counts.in_flight:  # noqa: ASYNC110  # a trial off the path
                        await asyncio.sleep(0.02)
                    await clock.pass_until(began_at + count * EVERY_SECONDS, really=really)

            await call_until(DEAD_SECONDS, back=False)
            lived.arrived = [at - began_at for at in times]
            lived.opened = [event.at - began_at for event in sidecar.events if event.name in OPENED]
            server.change("primary", fault=None)
            calls_before = len(lived.got)
            await call_until(DEAD_SECONDS + 2 * BACK_WITHIN_SECONDS, back=True)
    return lived


def assert_well_behaved(fault: str, lived: Lived) -> None:
    """Three failing calls open the breaker; from then on one attempt goes there for each time that it opens."""
    assert {COMPLETE} == {each.end for each in lived.got}
    assert len(lived.opened) >= 3
    windows = [*lived.opened, DEAD_SECONDS + 2 * BACK_WITHIN_SECONDS]
    for opened, again in pairwise(windows):
        arrived = [at for at in lived.arrived if opened < at <= again]
        assert len(arrived) <= 1, lived
        assert all(at - opened >= LEAST_OPEN_SECONDS for at in arrived), lived
    # Each call may try again at once.
    assert sum(at <= lived.opened[0] for at in lived.arrived) <= 2 * BREAKER.consecutive_failures
    # A silent trial tells so only at its limit, and the call that has another made is served elsewhere.
    allowed = BACK_WITHIN_SECONDS + (REALLY_SILENT_SECONDS + EVERY_SECONDS if fault == "silence" else 0.0)
    assert 1 <= lived.back_with_call <= 1 + allowed / EVERY_SECONDS


@pytest.mark.parametrize("fault", FAULTS)
async def test_dead_primary_sees_one_attempt_per_open_window_and_is_used_again_after_recovery(fault: str) -> None:
    assert_well_behaved(fault, await live_through(fault, really=False))


@pytest.mark.full
@pytest.mark.timeout(180)
async def test_primary_dead_for_a_real_minute_sees_one_attempt_per_open_window_and_is_used_again_after_it() -> None:
    lives = await asyncio.gather(*(live_through(fault, really=True) for fault in FAULTS))
    for fault, lived in zip(FAULTS, lives, strict=True):
        assert_well_behaved(fault, lived)


@contextmanager
def nobody_answering() -> Iterator[str]:
    """An address where connections are neither made nor refused, as behind a firewall that drops: the queue is full."""
    with socket.socket() as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.0)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/v1"


@pytest.mark.full
async def test_nobody_waits_for_trials_where_connections_are_neither_made_nor_refused() -> None:
    clock = Clock()
    limits = FailoverSettings(connect_timeout_seconds=1.2)
    async with SimulatedServer({"second": PROMPT}) as server:
        with nobody_answering() as url:
            urls = {"dark": url, "second": server.base_url("second")}
            async with before(urls, clock=clock, failover=limits, patient={"second"}) as sidecar:
                while not any(event.name in OPENED for event in sidecar.events):
                    first = await ask(sidecar)
                    # Asked once in the call, and not behind the others for having failed a moment ago.
                    assert first.providers == ("dark", "second")
                    await clock.pass_until(clock() + 6.0, really=False)
                served = []
                for number in range(10):
                    served.append(await ask(sidecar, streaming=number % 2 == 0))
                    await asyncio.sleep(0.3)
                    await clock.pass_until(clock() + 4.0, really=False)
    openings = [event for event in sidecar.events if event.name is EventName.ENDPOINT_OPENED]

    assert {("second",)} == {each.providers for each in served}
    assert len(openings) >= 2
