"""What is counted, and that labels stay bounded."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.core.budgets import NOW_WALL, budget, payer
from turnout_server.core.budget import BudgetScope
from turnout_server.core.budget_ledger import Ledger
from turnout_server.core.call import AttemptRecord
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import BreakerState, FailureKind, Target, Usage, UsageSource
from turnout_server.core.status import TargetGauges
from turnout_server.telemetry.metrics.instruments import Profile
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.metrics.recording import MAX_HISTOGRAMS, MAX_LABEL_SETS

OPENAI = Target("openai", "gpt-4o")
ANTHROPIC = Target("anthropic", "claude-sonnet-4-5")


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render("")[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def attempt(failure: FailureKind | None = None, *, cost_nano_usd: int | None = None) -> AttemptRecord:
    return AttemptRecord(
        target=OPENAI, attempt_id="a", started_at_wall=0.0, failure=failure, cost_nano_usd=cost_nano_usd
    )


def test_attempts_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    metrics.attempt(attempt())
    metrics.attempt(attempt(FailureKind.TIMEOUT))
    metrics.attempt(attempt(FailureKind.TIMEOUT))

    found = samples(metrics)

    assert found["turnout_attempts_total", (("outcome", "ok"), ("target", "openai/gpt-4o"))] == 1
    assert found["turnout_attempts_total", (("outcome", "TIMEOUT"), ("target", "openai/gpt-4o"))] == 2


def test_cost_is_summed_in_usd_by_how_attempts_ended_and_unknown_cost_is_counted_apart() -> None:
    metrics = Metrics()
    metrics.attempt(attempt(cost_nano_usd=1_500_000_000))
    metrics.attempt(attempt(cost_nano_usd=500_000_000))
    metrics.attempt(attempt(FailureKind.TRUNCATED, cost_nano_usd=250_000_000))
    metrics.attempt(attempt())

    found = samples(metrics)

    assert found["turnout_cost_usd_total", (("outcome", "ok"), ("target", "openai/gpt-4o"))] == 2.0
    assert found["turnout_cost_usd_total", (("outcome", "TRUNCATED"), ("target", "openai/gpt-4o"))] == 0.25
    assert found["turnout_price_unknown_total", (("target", "openai/gpt-4o"),)] == 1


def test_failovers_tell_from_where_to_where_and_why() -> None:
    metrics = Metrics()
    metrics.failover(OPENAI, ANTHROPIC, FailureKind.OVERLOADED)
    labels = (("failure", "OVERLOADED"), ("from", "openai/gpt-4o"), ("to", "anthropic/claude-sonnet-4-5"))

    assert samples(metrics)["turnout_failovers_total", labels] == 1


def test_hedges_tell_which_target_was_late_and_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.hedge(OPENAI, HedgeResult.WON)
    metrics.hedge(OPENAI, HedgeResult.NOT_ALLOWED)
    metrics.hedge(OPENAI, HedgeResult.NOT_ALLOWED)

    found = samples(metrics)

    assert found["turnout_hedges_total", (("result", "won"), ("target", "openai/gpt-4o"))] == 1
    assert found["turnout_hedges_total", (("result", "not_allowed"), ("target", "openai/gpt-4o"))] == 2


def test_overhead_falls_into_its_bucket() -> None:
    metrics = Metrics()
    metrics.overhead(0.0004)
    metrics.overhead(3.0)

    found = samples(metrics)

    assert found["turnout_overhead_duration_seconds_bucket", (("le", "0.00025"),)] == 0
    assert found["turnout_overhead_duration_seconds_bucket", (("le", "0.0005"),)] == 1
    assert found["turnout_overhead_duration_seconds_count", ()] == 2


def test_label_sets_are_bounded() -> None:
    metrics = Metrics()
    for i in range(MAX_LABEL_SETS + 5):
        metrics.outcome(str(i))

    found = samples(metrics)

    assert found["turnout_outcomes_total", (("result", "_OTHER"),)] == 5


def test_reports_that_are_missing_or_came_twice_are_counted_apart_as_well() -> None:
    metrics = Metrics()
    for result in ("accepted", "missing", "duplicate", "duplicate", "rejected"):
        metrics.outcome(result)

    found = samples(metrics)

    assert found["turnout_outcomes_total", (("result", "duplicate"),)] == 2
    assert found["turnout_outcomes_missing_total", ()] == 1
    assert found["turnout_outcomes_duplicate_total", ()] == 2


def test_gauges_of_targets_are_read_when_somebody_asks() -> None:
    metrics = Metrics()
    metrics.watch(
        lambda: [
            TargetGauges(OPENAI, 87.5, BreakerState.OPEN, 3, 0.25, 12),
            TargetGauges(ANTHROPIC, 90.0, BreakerState.CLOSED, 0, 0.0, None),
        ]
    )

    found = samples(metrics)

    assert found["turnout_target_health", (("target", "openai/gpt-4o"),)] == 87.5
    assert found["turnout_target_in_flight", (("target", "openai/gpt-4o"),)] == 3
    assert found["turnout_target_breaker", (("state", "OPEN"), ("target", "openai/gpt-4o"))] == 1
    assert found["turnout_target_breaker", (("state", "CLOSED"), ("target", "openai/gpt-4o"))] == 0
    assert found["turnout_target_throttle_ratio", (("target", "openai/gpt-4o"),)] == 0.25
    assert found["turnout_target_concurrency_limit", (("target", "openai/gpt-4o"),)] == 12
    # No limit is no number.
    assert ("turnout_target_concurrency_limit", (("target", str(ANTHROPIC)),)) not in found


def test_what_remains_of_a_budget_is_that_of_the_value_with_the_least_and_is_told_beside_its_limit() -> None:
    ledger = Ledger((budget("used", 4_000_000_000, scope=BudgetScope.USER), budget("unused", 2_000_000_000)), NOW_WALL)
    for user, amount in (("ann", 1_000_000_000), ("bob", 2_500_000_000)):
        ledger.report("", amount, payer(user=user), NOW_WALL, ok=True)
    ledger.report("", 500_000_000, payer(user="cid"), NOW_WALL, ok=True)
    metrics = Metrics()
    metrics.watch_budgets(lambda: ledger.reports(NOW_WALL))
    found = samples(metrics)

    assert found["turnout_budget_remaining_usd", (("budget", "used"),)] == 1.5
    assert found["turnout_budget_remaining_usd", (("budget", "unused"),)] == 0.0
    assert found["turnout_budget_limit_usd", (("budget", "used"),)] == 4.0
    assert found["turnout_budget_limit_usd", (("budget", "unused"),)] == 2.0


def test_how_keeping_goes_is_told_where_state_is_kept() -> None:
    metrics = Metrics()

    assert "turnout_snapshot_failures_total" not in {name for name, _ in samples(metrics)}

    metrics.watch_keeping(lambda: (12.5, 2, 4096))

    assert samples(metrics)["turnout_snapshot_age_seconds", ()] == 12.5
    assert samples(metrics)["turnout_snapshot_failures_total", ()] == 2
    assert samples(metrics)["turnout_journal_bytes", ()] == 4096

    metrics.watch_keeping(lambda: (None, 0, 0))

    assert "turnout_snapshot_age_seconds" not in {name for name, _ in samples(metrics)}


OF_OPENAI = (
    ("gen_ai_operation_name", "chat"),
    ("gen_ai_provider_name", "openai"),
    ("gen_ai_request_model", "gpt-4o"),
)


def ended(target: Target = OPENAI, failure: FailureKind | None = None, **fields: Any) -> AttemptRecord:
    return AttemptRecord(target=target, attempt_id="a", started_at_wall=0.0, failure=failure, **fields)


def test_durations_of_attempts_have_the_names_buckets_and_attributes_of_the_conventions() -> None:
    metrics = Metrics()
    metrics.attempt(ended(latency_seconds=0.03))
    metrics.attempt(ended(failure=FailureKind.RATE_LIMITED, latency_seconds=100.0))
    metrics.attempt(ended())
    found = samples(metrics)
    name = "gen_ai_client_operation_duration_seconds"
    fine = (("error_type", ""), *OF_OPENAI)
    failed = (("error_type", "rate_limited"), *OF_OPENAI)
    target = ("target", "openai/gpt-4o")

    assert found[f"{name}_bucket", (*fine, ("le", "0.02"), target)] == 0
    assert found[f"{name}_bucket", (*fine, ("le", "0.04"), target)] == 1
    assert found[f"{name}_count", (*fine, target)] == 1
    assert found[f"{name}_bucket", (*failed, ("le", "81.92"), target)] == 0
    assert found[f"{name}_sum", (*failed, target)] == 100.0


def test_first_chunk_is_told_of_streams_alone() -> None:
    metrics = Metrics()
    metrics.attempt(ended(time_to_first_token_seconds=0.5, streamed=True))
    metrics.attempt(ended(time_to_first_token_seconds=9.0))
    found = samples(metrics)
    labels = (*OF_OPENAI, ("target", "openai/gpt-4o"))

    assert found["gen_ai_client_operation_time_to_first_chunk_seconds_count", labels] == 1
    assert found["gen_ai_client_operation_time_to_first_chunk_seconds_sum", labels] == 0.5


def test_tokens_are_told_as_far_as_the_provider_reported_them() -> None:
    metrics = Metrics()
    metrics.attempt(ended(usage=Usage(input_tokens=20, output_tokens=None)))
    metrics.attempt(ended(usage=Usage(input_tokens=70, output_tokens=30, source=UsageSource.ESTIMATED)))
    counts = {labels: value for (name, labels), value in samples(metrics).items() if name.endswith("usage_count")}
    sums = {labels: value for (name, labels), value in samples(metrics).items() if name.endswith("usage_sum")}
    told = (
        *OF_OPENAI,
        ("gen_ai_token_type", "input"),
        ("target", "openai/gpt-4o"),
    )

    assert counts == {told: 1}
    assert sums == {told: 20}


def test_providers_have_the_names_of_the_conventions_and_others_their_own() -> None:
    metrics = Metrics()
    for provider in ("google", "mistral", "xai", "kimi", "anthropic", "own"):
        metrics.attempt(ended(Target(provider, "m"), latency_seconds=1.0))
    names = {dict(labels).get("gen_ai_provider_name") for _, labels in samples(metrics)} - {None}

    assert names == {"gcp.gemini", "mistral_ai", "x_ai", "moonshot_ai", "anthropic", "own"}


def test_small_profile_sums_up_over_models_and_keeps_what_alerts_need() -> None:
    metrics = Metrics(Profile.SMALL)
    metrics.watch(lambda: [TargetGauges(OPENAI, 87.5, BreakerState.OPEN, 3, 0.25, 12)])
    for target in (OPENAI, Target("openai", "o3")):
        metrics.attempt(ended(target, FailureKind.TIMEOUT, latency_seconds=1.0, usage=Usage(input_tokens=5)))
    metrics.failover(OPENAI, ANTHROPIC, FailureKind.OVERLOADED)
    metrics.hedge(OPENAI, HedgeResult.WON)
    found = samples(metrics)
    provider = OF_OPENAI[:2]

    assert found["gen_ai_client_operation_duration_seconds_count", provider] == 2
    assert found["gen_ai_client_token_usage_count", (*provider, ("gen_ai_token_type", "input"))] == 2
    assert found["turnout_failovers_total", (("failure", "OVERLOADED"),)] == 1
    assert found["turnout_hedges_total", (("result", "won"),)] == 1
    assert found["turnout_attempts_total", (("outcome", "TIMEOUT"), ("target", "openai/gpt-4o"))] == 1
    assert found["turnout_target_breaker", (("state", "CLOSED"), ("target", "openai/gpt-4o"))] == 0
    assert not {name for name, _ in found} & {"turnout_target_throttle_ratio", "turnout_target_concurrency_limit"}
    assert not [labels for name, labels in found if name == "turnout_target_breaker" and ("state", "OPEN") in labels]


def test_histograms_are_bounded() -> None:
    metrics = Metrics()
    for i in range(MAX_HISTOGRAMS + 5):
        metrics.call(f"method-{i}", "OK", 0.1)
    other = (("rpc_method", "_OTHER"), ("rpc_status_code", "_OTHER"), ("rpc_system_name", "_OTHER"))

    assert samples(metrics)["rpc_server_call_duration_seconds_count", other] == 5


def test_what_was_counted_beyond_the_bound_stays_when_targets_go() -> None:
    metrics = Metrics()
    for i in range(MAX_LABEL_SETS + 5):
        metrics.hedge(Target("p", f"m{i}"), HedgeResult.WON)
    metrics.watch(lambda: [TargetGauges(Target("p", "m3"), 87.5, BreakerState.OPEN, 0, 0.0, None)])
    hedges = {labels: value for (name, labels), value in samples(metrics).items() if name == "turnout_hedges_total"}

    assert hedges == {
        (("result", "_OTHER"), ("target", "_OTHER")): 5,
        (("result", "won"), ("target", "p/m3")): 1,
    }


def test_what_was_dropped_and_what_retries_remain_is_read_where_it_is_kept() -> None:
    metrics = Metrics()
    metrics.watch_dropped("traces", lambda: 7)
    metrics.watch_dropped("request_log", lambda: 0)
    metrics.watch_retry_budget(lambda: 2.5)
    found = samples(metrics)

    assert found["turnout_telemetry_dropped_total", (("signal", "traces"),)] == 7
    assert found["turnout_telemetry_dropped_total", (("signal", "request_log"),)] == 0
    assert found["turnout_retry_budget_remaining", ()] == 2.5


def test_what_runs_and_since_when_is_read_where_it_is_kept() -> None:
    metrics = Metrics()
    versions = ["a1b2"]
    metrics.watch_routing(lambda: versions[0])
    metrics.started("1.2.0", 1_700_000_000.0)
    before = samples(metrics)
    versions[0] = "c3d4"
    after = samples(metrics)

    assert before["turnout_build_info", (("version", "1.2.0"),)] == 1
    assert before["turnout_config_info", (("policy_version", "a1b2"),)] == 1
    assert before["turnout_start_timestamp_seconds", ()] == 1_700_000_000.0
    assert [labels for name, labels in after if name == "turnout_config_info"] == [(("policy_version", "c3d4"),)]
