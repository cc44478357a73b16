"""Measures deciding alone, without gRPC: microseconds of `Deciding.route` over a fleet of so many targets."""

from __future__ import annotations

import random
import time
from statistics import median

from bench.fleet import configuration
from turnout_server.config.build import build
from turnout_server.config.schema import Configuration
from turnout_server.core.model import Capability, Outcome, RequestProfile, RouteQuery
from turnout_server.ids import new_id
from turnout_server.router import Router
from turnout_server.telemetry.metrics.metrics import Metrics

BLOCKS = 9
EVERY = 20
"""After so many decisions an outcome is recorded, which changes the state that they read."""


def deciding_us(target_count: int, *, decisions: int) -> float:
    """Returns the median microseconds of one decision, over blocks of so many."""
    router = _router(target_count)
    queries = [_query(i) for i in range(97)]
    blocks = []
    for block in range(BLOCKS + 1):
        start = time.process_time()
        for n in range(decisions):
            decision = router.deciding.route(queries[n % len(queries)])
            if n % EVERY == 0:
                router.reports.take([_outcome(decision.candidates[0].target, f"{block}-{n}")], [])
        blocks.append((time.process_time() - start) / decisions * 1e6)
    return median(blocks[1:])


def _router(target_count: int) -> Router:
    values = Configuration.model_validate(configuration(target_count, "http://127.0.0.1:9/v1"))
    parts = build(values, {})
    return Router(
        parts.fleet,
        parts.settings,
        clock=time.monotonic,
        wall=time.time,
        rng=random.Random(1),  # noqa: S311 - spreads load, keeps no secret
        new_id=new_id,
        on_event=lambda _: None,
        instruments=Metrics(),
    )


def _query(i: int) -> RouteQuery:
    needs = frozenset({Capability.TOOLS}) if i % 4 == 0 else frozenset()
    task = ("", "chat", "code_review", "auto_fix", "planning")[i % 5]
    return RouteQuery(profile=RequestProfile(task=task, input_tokens=200 + 137 * i, capabilities=needs))


def _outcome(target: object, attempt_id: str) -> Outcome:
    return Outcome(target=target, attempt_id=attempt_id, latency_seconds=0.9)  # type: ignore[arg-type]
