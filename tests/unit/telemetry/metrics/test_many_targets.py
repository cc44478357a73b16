"""A fleet of hundreds of targets: a scrape goes in small steps, the small profile stays small, what is gone ends."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.sidecar import spec
from tests.unit.telemetry.metrics.test_metrics import samples
from turnout_server.core.call import AttemptRecord
from turnout_server.core.fleet import Fleet
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import (
    BreakerState,
    Capability,
    FailureKind,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.core.status import TargetGauges
from turnout_server.execution.answer_cache import AnswerCache
from turnout_server.execution.once import Once
from turnout_server.router import Router
from turnout_server.telemetry.metrics import metrics as module
from turnout_server.telemetry.metrics.instruments import Profile
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.metrics.page import SLICE_SAMPLES
from turnout_server.telemetry.metrics.recording import PART_HISTOGRAMS, PART_SERIES
from turnout_server.telemetry.metrics.scraped import PART_TARGETS

TARGETS = 400
PROVIDERS = 20
FAILURES = (None, FailureKind.TIMEOUT, FailureKind.OVERLOADED)


def fleet() -> tuple[Target, ...]:
    return tuple(Target(f"p{number % PROVIDERS}", f"m{number}") for number in range(TARGETS))


def measured(target: Target) -> TargetGauges:
    return TargetGauges(target, 87.5, BreakerState.CLOSED, 3, 0.25, 12)


def used(metrics: Metrics, targets: tuple[Target, ...]) -> Metrics:
    """All of them were called and failed, and were moved away from."""
    for target in targets:
        for failure in FAILURES:
            metrics.attempt(
                AttemptRecord(
                    target=target,
                    attempt_id="a",
                    started_at_wall=0.0,
                    failure=failure,
                    latency_seconds=0.3,
                    time_to_first_token_seconds=0.1,
                    streamed=True,
                    usage=Usage(input_tokens=4, output_tokens=4),
                    cost_nano_usd=5,
                )
            )
        metrics.failover(target, targets[0], FailureKind.TIMEOUT)
        metrics.hedge(target, HedgeResult.WON)
    return metrics


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.FULL])
def test_each_step_of_a_scrape_reads_few_targets_and_makes_few_samples(profile: Profile) -> None:
    targets, read = fleet(), 0
    metrics = used(Metrics(profile), targets)

    def gauges() -> Iterator[TargetGauges]:
        nonlocal read
        for target in targets:
            read += 1
            yield measured(target)

    metrics.watch(gauges)
    reads, sizes = [], []
    before = 0
    for family in metrics.collect():
        reads.append(read - before)
        before = read
        sizes.append(0 if family is None else len(family.samples))

    assert read == TARGETS
    assert max(reads) == PART_TARGETS
    # A histogram has a line for each bucket, one without a bound, a count and a sum.
    assert max(sizes) <= max(4 * PART_TARGETS, PART_SERIES, PART_HISTOGRAMS * 17)
    assert max(PART_TARGETS, SLICE_SAMPLES) <= 100, "a step is to take less than 5 ms on a slow core"


def test_small_profile_has_a_few_lines_for_each_target_however_much_it_did() -> None:
    targets = fleet()
    metrics = used(Metrics(Profile.SMALL), targets)
    metrics.watch(lambda: map(measured, targets))
    page = metrics.render("")[0].decode()
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    histograms = {
        family.name: {tuple(sorted(sample.labels.items())) for sample in family.samples if sample.name.endswith("_sum")}
        for family in text_string_to_metric_families(page)
        if family.type == "histogram"
    }
    of_each = [line for line in lines if "/m7" in line]

    # Attempts by outcome and cost, which alerts need; health, breaker, calls under way.
    assert len([line for line in of_each if 'target="p7/m7"' in line]) == len(FAILURES) + 4
    assert len(histograms["gen_ai_client_operation_duration_seconds"]) == PROVIDERS
    assert len(histograms["gen_ai_client_token_usage"]) == 2 * PROVIDERS
    assert len(lines) < 12 * TARGETS


def test_more_shapes_of_requests_than_are_kept_apart_cost_one_of_them_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHARED_MAXIMUM", 2)
    metrics = Metrics()
    specs = tuple(spec(f"p{number}", "m") for number in range(5))
    router = Router(
        Fleet(specs),
        Settings(),
        clock=lambda: 1.0,
        wall=lambda: 1.0,
        rng=random.Random(1),
        new_id=lambda: "id",
        on_event=metrics.event,
        instruments=metrics,
    )
    kept = []
    for number in range(4):
        only = (f"p{number}",)
        query = RouteQuery(
            profile=RequestProfile(capabilities=frozenset({Capability.TOOLS})), options=RoutingOptions(include=only)
        )
        for _ in range(3):
            router.deciding.route(query)
        kept.append(len(metrics._shared))
    found = {labels: value for (name, labels), value in samples(metrics).items() if name == "turnout_rejections_total"}

    assert max(kept) <= 2
    # Of four times three decisions, each target but the last was in three, and the last in none.
    assert sum(found.values()) == 4 * 3 * 4


def test_series_of_a_policy_end_when_it_is_removed_and_those_of_others_go_on() -> None:
    policies = {"default": Policy(), "night": Policy(name="night", strategy=Strategy.COST)}
    metrics = Metrics()
    router = Router(
        Fleet((spec("p", "m"),)),
        Settings(routing=RoutingSettings(policies=policies)),
        clock=lambda: 1.0,
        wall=lambda: 1.0,
        rng=random.Random(1),
        new_id=lambda: "id",
        on_event=metrics.event,
        instruments=metrics,
    )
    metrics.watch(router.status.gauges)
    metrics.watch_policies(lambda: router.configured.settings.routing.policies)
    cache = AnswerCache()
    cache.hit_counts["night"] = cache.hit_counts["default"] = 2
    metrics.watch_answers(Once(lambda: 1.0), cache)
    for policy in ("default", "night"):
        router.deciding.route(RouteQuery(options=RoutingOptions(policy=policy)))
    before = metrics.render("")[0].decode()
    router.adopt(router.configured.fleet, Settings(routing=RoutingSettings(policies={"default": Policy()})))
    after = metrics.render("")[0].decode()

    assert before.count('policy="night"') == 2
    assert 'policy="night"' not in after
    assert after.count('policy="default"') == 2


@pytest.mark.parametrize("profile", [Profile.SMALL, Profile.FULL])
def test_series_of_a_provider_end_with_its_last_target(profile: Profile) -> None:
    metrics = Metrics(profile)
    google, other = Target("google", "g"), Target("p", "m")
    present = [google, other]
    metrics.watch(lambda: map(measured, present))
    used(metrics, (google, other))
    name = 'gen_ai_provider_name="gcp.gemini"'
    before = metrics.render("")[0].decode()
    present.remove(google)
    after = metrics.render("")[0].decode()

    assert name in before
    assert name not in after
    assert 'gen_ai_provider_name="p"' in after
