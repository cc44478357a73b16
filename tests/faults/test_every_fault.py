"""Every fault on every wire, streamed and in one piece, with another target at hand and without, over real sockets.

Each call ends in time with a complete answer or with one honest error that tells what was tried. Afterwards the
provider's connections are closed, the sidecar is well, and nothing is left of what the calls used.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.faults.cases import PROMPT, TRACE_ID, Case, Outcome, Way, call, cases, complaints, good_places, kind_of
from tests.faults.provider import FaultyProvider
from tests.faults.sidecar import KEY, QUICK, REAL, Sidecar, logged, running
from tests.faults.table import FAULTS, HEAD_FAULTS, Until
from tests.faults.vendors import PIECES, WIRES
from turnout_server.core.model import HEALTH_FAILURES
from turnout_server.core.settings import FailoverSettings

ALL = (*FAULTS.values(), *HEAD_FAULTS)
AT_ONCE = [fault for fault in ALL if fault.until is Until.AT_ONCE]
WAITS = [fault for fault in ALL if fault.until is not Until.AT_ONCE]
TOGETHER = 12
"""Calls that run at a time where none of them waits: more would only wait for each other."""
REAL_BOUNDS = {
    Until.FIRST_CONTENT: 10.0,
    Until.IDLE: 20.0,
    Until.GOOD: 60.0,
    Until.DEADLINE: 60.0,
}
HANGS_SECONDS = 100.0
"""Longer than any call here may take."""
LOOK_SECONDS = 0.05
AT_ONCE_SETTINGS = replace(QUICK, idle_timeout_seconds=20.0)
"""Where no limit is what is tried, none is short."""
SHORT = replace(QUICK, request_timeout_seconds=5.0, stream_max_seconds=5.0)
"""Calls end by themselves, though their callers would wait."""
QUICK_BOUNDS = {
    Until.AT_ONCE: 0.0,
    Until.FIRST_CONTENT: 1.0,
    Until.IDLE: 2.0,
    Until.GOOD: 2.0,
    Until.DEADLINE: 5.0,
}


async def meet(
    met: Sequence[Case],
    failover: FailoverSettings,
    bounds: Mapping[Until, float],
    *,
    together: int = 1000,
    endless_seconds: float | None = None,
) -> list[str]:
    """Makes all the calls; returns what is wrong with what came of them, and what they left that should not be there.

    `endless_seconds` is the deadline of those that would never end.
    """
    async with FaultyProvider() as provider:
        gc.collect()
        before = held()
        lag = Lag()
        watching = asyncio.create_task(lag.watch())
        outcomes, left = await _met(provider, met, failover, together, endless_seconds)
        watching.cancel()
        gc.collect()
        await until(lambda: held() == before)
        if held() != before:
            left.append(f"tasks and sockets were {before}, and are {held()}")
        if provider.open_connections:
            left.append(f"{provider.open_connections} connections to the provider are open")
    wrong = [about for outcome in outcomes for about in complaints(outcome, bounds, lag_seconds=lag.seconds)]
    return wrong + left


class Lag:
    """How long the machine let this process wait, in all: nobody's limits count that time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            await asyncio.sleep(LOOK_SECONDS)
            self.seconds += loop.time() - began_at - LOOK_SECONDS


async def _met(
    provider: FaultyProvider,
    met: Sequence[Case],
    failover: FailoverSettings,
    together: int,
    endless_seconds: float | None,
) -> tuple[list[Outcome], list[str]]:
    """Makes the calls through a sidecar that is gone afterwards."""
    gate = asyncio.Semaphore(together)

    async def made(case: Case) -> Outcome:
        timeout_seconds = endless_seconds if endless(case) else None
        async with gate, asyncio.timeout(HANGS_SECONDS):
            return await call(sidecar, case, timeout_seconds=timeout_seconds)

    places = [*(case.place(provider, real=failover is REAL) for case in met), *good_places(provider)]
    with logged() as log:
        async with running(places, failover) as sidecar:
            outcomes = await asyncio.gather(*map(made, met))
            left = [
                *await about_provider(provider, met),
                *await about_health(sidecar),
                *about_targets(sidecar, outcomes),
            ]
    return outcomes, [*left, *about_log(log.getvalue())]


async def about_provider(provider: FaultyProvider, met: Sequence[Case]) -> list[str]:
    """Every request is over soon after its call: answered to the end, or its connection closed."""
    await until(lambda: all(exchange.over_at is not None for exchange in provider.exchanges))
    found = [
        f"{exchange.case}: the provider still answers, and nobody listens"
        for exchange in provider.exchanges
        if exchange.over_at is None
    ]
    came = {exchange.case for exchange in provider.exchanges}
    # Where a limit is short, a busy machine may not come to send anything before it.
    reach = [case for case in met if case.fault.reaches and case.fault.until is Until.AT_ONCE]
    found += [f"{case}: no request came" for case in reach if case.provider not in came]
    return found


async def about_health(sidecar: Sidecar) -> list[str]:
    """The sidecar says that it is well."""
    answer = await health_pb2_grpc.HealthStub(sidecar.channel).Check(health_pb2.HealthCheckRequest())
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return [f"the sidecar is {answer.status}"]
    return []


def about_targets(sidecar: Sidecar, outcomes: Iterable[Outcome]) -> list[str]:
    """What went wrong counts against the target that it went wrong at, by its kind; nobody else's health suffers."""
    states = {
        target.target.provider: target
        for provider in sidecar.router.status.report().providers
        for target in provider.targets
    }
    found = [
        f"{name}: {state.in_flight} calls are under way for ever" for name, state in states.items() if state.in_flight
    ]
    for outcome in outcomes:
        case = outcome.case
        state = states[case.provider]
        kinds = {kind for kind, rate in state.error_rates.items() if rate}
        told = {
            kind_of(attempt.failure)
            for attempt in outcome.attempts
            if attempt.target.provider == case.provider and not attempt.ok
        }
        if not told >= kinds:
            found.append(f"{case}: told of {sorted(told)}, and {sorted(kinds)} are counted")
        hurt = state.consecutive_failures > 0
        if hurt != bool(told & HEALTH_FAILURES):
            found.append(f"{case}: {state.consecutive_failures} failures in a row after {sorted(told)}")
        if (state.cool_down_until is not None) != (case.fault.name == "rate_limit"):
            found.append(f"{case}: cools down until {state.cool_down_until}")
    found += [
        f"{name}: {state.error_rates}"
        for name, state in states.items()
        if name.startswith("good-") and state.error_rates
    ]
    return found


def about_log(text: str) -> Iterator[str]:
    """Each line is one JSON object, what belongs to a call tells its decision and its trace, and nothing is secret."""
    words = [word for piece in (PROMPT, *PIECES) for word in (piece.strip(), piece)]
    for secret in {KEY, "a-caller-of-the-caller", "Bearer", *words}:
        if secret in text:
            yield f"{secret!r} is in the log"
    lines = [orjson.loads(line) for line in text.splitlines()]
    if not any(line["event"] == "call" for line in lines):
        yield f"no call is in the {len(lines)} lines of the log"
    for line in lines:
        # What is told once more is of several calls; a line of neither kind is of a target.
        of_call = line.get("count", 1) == 1 and ("method" in line or "failure" in line)
        if of_call and not (line.get("trace_id") == TRACE_ID and line.get("span_id") and line.get("decision_id")):
            yield f"{line} does not tell which call it is of"
        if line["level"] == "error" or "logger" in line or "exception" in line:
            yield f"{line} is of a fault of ours"


def held() -> tuple[int, int]:
    """Counts the tasks and the file descriptors that there are now."""
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


async def until(done: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Waits until that is so, or until it takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not done():  # noqa: ASYNC110  # what is waited for says nothing of itself
                await asyncio.sleep(0.02)


async def warm_up() -> None:
    """Makes what a process makes once, and keeps."""
    async with FaultyProvider() as provider, running(good_places(provider)) as sidecar:
        await about_health(sidecar)


def endless(case: Case) -> bool:
    """Whether only the caller's own time ends the call."""
    return case.fault.until is Until.DEADLINE and case.way is not Way.DIRECT


QUICK_WIRES = ("anthropic", "openai")
"""Those whose cases `make test` plays; of the other two some thirty seconds are for `make test-full`."""


def waiting() -> list[Case]:
    return [case for wire in WIRES for case in cases(wire, WAITS)]


@pytest.mark.parametrize(
    "wire", [pytest.param(wire, marks=() if wire in QUICK_WIRES else pytest.mark.full) for wire in WIRES]
)
async def test_what_shows_at_once_ends_at_once(wire: str) -> None:
    await warm_up()

    assert [] == await meet(list(cases(wire, AT_ONCE)), AT_ONCE_SETTINGS, QUICK_BOUNDS, together=TOGETHER)


async def test_what_must_be_waited_for_is_waited_for_no_longer_than_configured() -> None:
    await warm_up()
    met = [case for case in waiting() if not endless(case)]

    assert [] == await meet(met, QUICK, QUICK_BOUNDS, together=100)


async def test_what_never_ends_is_ended_when_the_calls_time_is_over() -> None:
    await warm_up()

    assert [] == await meet([case for case in waiting() if endless(case)], SHORT, QUICK_BOUNDS)


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_what_must_be_waited_for_is_waited_for_no_longer_than_by_default() -> None:
    await warm_up()

    assert [] == await meet(waiting(), REAL, REAL_BOUNDS, endless_seconds=REAL_BOUNDS[Until.DEADLINE])
