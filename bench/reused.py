"""What a call of an application's own costs that goes by a plan it has, beside one that asks the sidecar each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from turnout import Client, PlanAttempt

CALLS_BETWEEN = 500
"""Outcomes are sent after so many calls, so that none of a thousand that may wait is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """Microseconds of the caller: one call at a time, and CPU of its process with the report that goes out later."""

    p50_us: float
    route_p50_us: float
    p50_ratio: float
    cpu_us: float
    route_cpu_us: float
    cpu_ratio: float


def reused_plans(address: str, *, turns: int, calls: int) -> Reused:
    """Returns how a plan that is used again compares with Route, from so many turns of so many calls of each."""
    found: list[tuple[float, float, float, float]] = []
    with Client(address) as client:
        for turn in range(turns + 1):
            asked = _measured(client, lambda: client.route(task="chat"), calls)
            used = _measured(client, lambda: client.call(_instantly, task="chat"), calls)
            if turn:
                found.append((*used, *asked))
    return Reused(
        p50_us=median(used for used, _, _, _ in found),
        route_p50_us=median(asked for _, _, asked, _ in found),
        p50_ratio=median(used / asked for used, _, asked, _ in found),
        cpu_us=median(used for _, used, _, _ in found),
        route_cpu_us=median(asked for _, _, _, asked in found),
        cpu_ratio=median(used / asked for _, used, _, asked in found),
    )


def _instantly(attempt: PlanAttempt) -> str:
    return attempt.model


def _measured(client: Client, call: Callable[[], object], calls: int) -> tuple[float, float]:
    waits = []
    before = time.process_time()
    for number in range(1, calls + 1):
        start = time.perf_counter()
        call()
        waits.append(time.perf_counter() - start)
        if number % CALLS_BETWEEN == 0:
            client.flush(60)
    client.flush(60)
    return median(waits) * 1e6, (time.process_time() - before) / calls * 1e6
