"""Metrics that have something of every family, by way of what counts and keeps them in the product."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.api.sidecar import spec
from tests.unit.core.budgets import NOW_WALL, budget
from turnout_server.core.budget_ledger import Ledger
from turnout_server.core.call import AttemptRecord
from turnout_server.core.comparison import Choice, Comparison
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import BreakerState, FailureKind, RouteQuery, RoutingOptions, Target, Usage
from turnout_server.core.settings import Settings
from turnout_server.core.status import TargetGauges
from turnout_server.execution.answer_cache import AnswerCache
from turnout_server.execution.once import Once
from turnout_server.router import Router
from turnout_server.telemetry.metrics.instruments import Profile
from turnout_server.telemetry.metrics.metrics import Metrics

FIRST, SECOND = Target("google", "m0"), Target("openai", "m1")


class Certificate:
    """A listener's certificate that was renewed once."""

    expires_at = 1_800_000_000.0

    def counts(self) -> Mapping[tuple[str, str], int]:
        return {("certificate", "taken"): 1}


@dataclass
class Lines:
    """A request log that lost a line."""

    written_count: int = 7
    dropped_count: int = 1


def every_family(profile: Profile = Profile.FULL) -> Metrics:
    """Returns metrics in which each instrument has a series or more, with numbers of their own."""
    metrics = Metrics(profile)
    _count(metrics)
    cache = AnswerCache()
    cache.hit_counts["default"], cache.miss_counts["default"] = 3, 4
    ledger = Ledger((budget("monthly", 4_000_000_000),), NOW_WALL)
    metrics.watch(lambda: [TargetGauges(each, 87.5, BreakerState.OPEN, 3, 0.25, 12) for each in (FIRST, SECOND)])
    metrics.watch_shed(lambda: {"calls": 5, "bytes": 8})
    metrics.watch_answers(Once(lambda: 1.0), cache)
    metrics.watch_request_log(Lines)  # type: ignore[arg-type]  # as much of it as is read
    metrics.watch_keeping(lambda: (12.5, 2, 4096))
    metrics.watch_budgets(lambda: ledger.reports(NOW_WALL))
    metrics.watch_routing(lambda: "a1b2")
    metrics.watch_retry_budget(lambda: 2.5)
    metrics.watch_refusals({"unauthenticated": 6})
    metrics.watch_shadows(lambda: {("default", "other"): 4})
    metrics.watch_checks(lambda: {("google", "ok"): 9, (str(SECOND), "CONNECTION"): 2})
    metrics.watch_listener_files(Certificate())
    metrics.watch_dropped("traces", lambda: 8)
    metrics.started("1.2.0", 1_700_000_000.0)
    metrics.config_taken(1_700_000_001.0)
    return metrics


def _count(metrics: Metrics) -> None:
    router = Router(
        Fleet((spec("google", "m0"), spec("openai", "m1"))),
        Settings(),
        clock=lambda: 1.0,
        wall=lambda: 1.0,
        rng=random.Random(1),
        new_id=lambda: "id",
        on_event=metrics.event,
        instruments=metrics,
    )
    router.deciding.route(RouteQuery(options=RoutingOptions(exclude=("openai",))))
    for failure in (None, FailureKind.TIMEOUT):
        for target, cost_nano_usd in ((FIRST, 1_500_000_000), (SECOND, None)):
            metrics.attempt(
                AttemptRecord(
                    target=target,
                    attempt_id="a",
                    started_at_wall=0.0,
                    failure=failure,
                    latency_seconds=0.03,
                    time_to_first_token_seconds=0.02,
                    streamed=True,
                    usage=Usage(input_tokens=20, output_tokens=3),
                    cost_nano_usd=cost_nano_usd,
                    possibly_billed=True,
                )
            )
    metrics.failover(FIRST, SECOND, FailureKind.TIMEOUT)
    metrics.hedge(FIRST, HedgeResult.WON)
    for shadow_chosen in (Choice(target=FIRST), Choice(target=SECOND)):
        metrics.shadow(
            Comparison(
                policy="default", shadow_policy="other", chosen=Choice(target=FIRST), shadow_chosen=shadow_chosen
            )
        )
    for result in ("accepted", "missing", "duplicate"):
        metrics.outcome(result)
    metrics.event(Event(at=1.0, name=EventName.FAILURE))
    metrics.reload("refused", 5.0)
    metrics.overhead(0.0004)
    metrics.loop_delay(0.002)
    metrics.call("turnout.v1.RouterService/Execute", "OK", 0.2)
