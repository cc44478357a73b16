"""How outcomes become health: whose fault each kind is, what counts, and what time alone does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.events import EventName
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.model import (
    CALLER_FAILURES,
    CREDENTIAL_FAILURES,
    HEALTH_FAILURES,
    BreakerState,
    FailureKind,
    Feedback,
    HealthState,
    Outcome,
    RateLimitBucket,
    RateLimitReading,
    RejectionReason,
    RouteQuery,
    Target,
    Usage,
    UsageSource,
)
from turnout_server.core.state import RecordResult
from turnout_server.core.tokens import OUTPUT_TOKENS

KIND = FailureKind
PRIOR = 24.9 / 25.0
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def availability(fleet: LiveFleet, name: str = "a/m") -> float:
    return fleet.at(name).availability.value(fleet.now)


# Whose fault it is.


def test_every_kind_of_failure_belongs_to_exactly_one_group() -> None:
    groups = (HEALTH_FAILURES, CREDENTIAL_FAILURES, CALLER_FAILURES, {KIND.UNKNOWN})

    assert all(sum(kind in group for group in groups) == 1 for kind in FailureKind)


@pytest.mark.parametrize("kind", sorted(HEALTH_FAILURES))
def test_providers_fault_lowers_availability_and_opens_the_breaker(kind: FailureKind) -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", 1, kind)

    assert availability(fleet) < PRIOR
    assert fleet.at("a/m").breaker.consecutive_failures == 1

    fleet.fail("a/m", 2, kind)

    assert fleet.at("a/m").breaker.state(fleet.now) is OPEN


def test_unknown_failure_lowers_availability_only() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", 20, KIND.UNKNOWN)

    assert availability(fleet) < 0.7
    assert fleet.at("a/m").breaker.consecutive_failures == 0
    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED
    assert fleet.at("a/m").endpoint.state(fleet.now) is CLOSED


@pytest.mark.parametrize("kind", sorted(CREDENTIAL_FAILURES))
def test_credentials_fault_changes_no_health(kind: FailureKind) -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", 20, kind)

    assert availability(fleet) == pytest.approx(PRIOR)
    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED


@pytest.mark.parametrize("kind", sorted(CALLER_FAILURES))
def test_callers_own_failures_change_nothing(kind: FailureKind) -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", 20, kind)
    verdict = fleet.state.credentials.verdict(fleet.at("a/m").spec, tenant="", executing=True, now=fleet.now)

    assert availability(fleet) == pytest.approx(PRIOR)
    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED
    assert verdict.reason is None
    assert fleet.events == []


@pytest.mark.parametrize("kind", sorted(CALLER_FAILURES | CREDENTIAL_FAILURES | {KIND.UNKNOWN}))
def test_failures_that_are_not_the_providers_do_not_end_a_streak(kind: FailureKind) -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", 2)
    fleet.fail("a/m", 1, kind)
    fleet.fail("a/m", 1)

    assert fleet.at("a/m").breaker.state(fleet.now) is OPEN


@pytest.mark.parametrize(
    ("streamed", "waited", "counts"),
    # The prior for an answer is 1 s + 250 tokens of 0.015 s; for the first token of a stream it is 1 s.
    [(False, 14.2, False), (False, 14.3, True), (True, 3.0, False), (True, 3.01, True)],
)
def test_cancelled_call_that_waited_three_times_the_p95_for_a_first_byte_is_a_timeout(
    *, streamed: bool, waited: float, counts: bool
) -> None:
    fleet = LiveFleet("a/m")
    fleet.ended("a/m", KIND.CANCELLED, before_first_byte=True, latency_seconds=waited, streamed=streamed)

    assert (fleet.at("a/m").breaker.consecutive_failures == 1) is counts


def test_cancelled_call_that_had_begun_to_answer_is_never_a_timeout() -> None:
    fleet = LiveFleet("a/m")
    fleet.ended("a/m", KIND.CANCELLED, before_first_byte=False, latency_seconds=500.0)
    fleet.ended("a/m", KIND.CANCELLED, before_first_byte=True)

    assert fleet.at("a/m").breaker.consecutive_failures == 0


def test_trial_that_a_caller_gave_up_late_has_failed() -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    probe_id = fleet.lease("a/m")
    fleet.ended("a/m", KIND.CANCELLED, before_first_byte=True, latency_seconds=60.0, probe_id=probe_id)

    assert fleet.at("a/m").breaker.state(fleet.now) is OPEN
    assert fleet.at("a/m").breaker.opened_by_silence


# The breaker, at work.


def test_failures_of_one_call_count_once_for_a_target() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(5):
        fleet.now += 1.0
        fleet.ended("a/m", KIND.SERVER_ERROR, call_id="the same call")

    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED


def test_opening_and_closing_are_told_and_closing_resets_availability() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m")
    low = availability(fleet)
    fleet.now += 5.0
    fleet.expire()
    fleet.tried("a/m")
    fleet.tried("a/m")

    assert low < 0.9
    assert availability(fleet) == pytest.approx(PRIOR)
    assert fleet.names() == [EventName.BREAKER_OPENED, EventName.BREAKER_HALF_OPEN, EventName.BREAKER_CLOSED]
    assert dict(fleet.events[0].fields) == {"failure": "SERVER_ERROR", "open_seconds": 5.0}
    assert fleet.events[0].target == Target("a", "m")


def test_answer_of_an_attempt_from_before_the_opening_does_not_close() -> None:
    fleet = LiveFleet("a/m")
    early = [fleet.started("a/m") for _ in range(5)]
    fleet.opened("a/m")
    for attempt_id in early:
        fleet.ended("a/m", attempt_id=attempt_id)

    assert fleet.at("a/m").breaker.state(fleet.now) is HALF_OPEN


def test_only_a_half_open_target_has_a_trial_to_lease() -> None:
    fleet = LiveFleet("a/m")

    assert fleet.lease("a/m") is None

    fleet.fail("a/m")

    assert fleet.lease("a/m") is None

    fleet.now += 5.0

    assert fleet.lease("a/m") is not None
    assert fleet.lease("a/m") is None


@pytest.mark.parametrize("kind", sorted(CALLER_FAILURES | CREDENTIAL_FAILURES | {KIND.UNKNOWN}))
def test_trial_that_ends_without_fault_or_merit_frees_its_slot(kind: FailureKind) -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    fleet.tried("a/m", kind)

    assert fleet.at("a/m").breaker.state(fleet.now) is HALF_OPEN
    assert fleet.lease("a/m") is not None


def test_released_trial_frees_its_slot() -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    probe_id = fleet.lease("a/m")

    assert probe_id is not None

    fleet.state.release_probe(0, probe_id, fleet.now)

    assert fleet.lease("a/m") is not None


def test_trial_never_reported_expires_neutrally_and_is_counted() -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    before = fleet.at("a/m").breaker.reopen_at
    fleet.expire()
    fleet.lease("a/m", seconds=10.0)
    fleet.now += 9.9

    assert fleet.expire() == []

    fleet.now += 0.1

    assert fleet.expire() == [EventName.PROBE_EXPIRED]
    assert fleet.expire() == []
    assert fleet.state.missing_outcomes == 1
    assert fleet.at("a/m").breaker.state(fleet.now) is HALF_OPEN
    assert fleet.at("a/m").breaker.reopen_at == before
    assert availability(fleet) < PRIOR
    assert fleet.lease("a/m") is not None


# Endpoints.


def test_models_that_fail_together_open_their_endpoint_for_all() -> None:
    fleet = LiveFleet("a/m1", "a/m2", "a/m3", "b/m")
    for name in ("a/m1", "a/m2", "a/m1"):
        fleet.ended(name, KIND.SERVER_ERROR)

    assert EventName.ENDPOINT_OPENED in fleet.names()
    assert fleet.at("a/m3").endpoint.state(fleet.now) is OPEN
    assert fleet.at("a/m3").breaker.state(fleet.now) is CLOSED
    assert fleet.at("a/m3").health(fleet.now) is HealthState.OFFLINE
    assert fleet.at("a/m3").score(fleet.now) == 0.0
    assert fleet.at("b/m").endpoint.state(fleet.now) is CLOSED


def test_endpoints_of_one_provider_are_apart() -> None:
    fleet = LiveFleet("a/m@eu", "a/m@us", "a/n@eu")
    for name in ("a/m@eu", "a/n@eu", "a/m@eu"):
        fleet.ended(name, KIND.SERVER_ERROR)

    assert fleet.at("a/m@eu").endpoint.state(fleet.now) is OPEN
    assert fleet.at("a/m@us").endpoint.state(fleet.now) is CLOSED


def test_every_failed_attempt_counts_for_an_endpoint_not_one_per_call() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(3):
        fleet.ended("a/m", KIND.CONNECTION, call_id="the same call")

    assert fleet.at("a/m").endpoint.state(fleet.now) is OPEN
    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED


def dark_endpoint() -> LiveFleet:
    """An endpoint that has just become half-open, its targets' own breakers closed."""
    fleet = LiveFleet("a/m1", "a/m2")
    for name in ("a/m1", "a/m2", "a/m1"):
        fleet.ended(name, KIND.SERVER_ERROR)
    fleet.now += 5.0
    return fleet


def test_half_open_endpoint_has_one_trial_for_all_its_models() -> None:
    fleet = dark_endpoint()

    assert fleet.expire() == [EventName.ENDPOINT_HALF_OPEN]
    assert fleet.lease("a/m1") is not None
    assert fleet.lease("a/m2") is None


def test_endpoint_closes_after_two_trials_of_any_of_its_models_and_resets_their_windows() -> None:
    fleet = dark_endpoint()
    fleet.tried("a/m1")
    fleet.tried("a/m2")

    assert fleet.at("a/m1").endpoint.state(fleet.now) is CLOSED
    assert fleet.names()[-1] is EventName.ENDPOINT_CLOSED
    assert [availability(fleet, name) for name in ("a/m1", "a/m2")] == pytest.approx([PRIOR, PRIOR], abs=1e-3)


def test_trial_takes_the_slots_of_target_and_endpoint_together() -> None:
    fleet = LiveFleet("a/m1", "a/m2")
    fleet.fail("a/m1", 2)
    fleet.ended("a/m2", KIND.SERVER_ERROR)
    fleet.fail("a/m1", 1)
    fleet.now += 6.0

    assert fleet.at("a/m1").breaker.state(fleet.now) is HALF_OPEN
    assert fleet.at("a/m1").endpoint.state(fleet.now) is HALF_OPEN

    fleet.expire()
    fleet.lease("a/m1", seconds=10.0)

    assert fleet.lease("a/m2") is None

    fleet.now += 10.0

    assert fleet.expire() == [EventName.PROBE_EXPIRED]
    assert fleet.state.missing_outcomes == 1


def test_open_endpoint_holds_back_the_trial_of_a_half_open_target() -> None:
    fleet = LiveFleet("a/m1", "a/m2")
    fleet.opened("a/m1")
    fleet.tried("a/m1", KIND.SERVER_ERROR)
    fleet.now = fleet.at("a/m1").breaker.reopen_at
    for name in ("a/m2", "a/m2", "a/m2"):
        fleet.ended(name, KIND.CONNECTION)

    assert fleet.at("a/m1").breaker.state(fleet.now) is HALF_OPEN
    assert fleet.lease("a/m1") is None
    # What was refused as a whole holds no part either.
    assert fleet.at("a/m1").breaker.admits(fleet.now)


# Our own network.


def test_providers_out_of_reach_together_are_told_once_and_none_of_them_counts() -> None:
    fleet = LiveFleet("a/m", "b/m")
    for _ in range(10):
        fleet.now += 0.4
        for name in ("a/m", "b/m"):
            fleet.ended(name, KIND.CONNECTION)

    assert fleet.names() == [EventName.LOCAL_NETWORK]
    for name in ("a/m", "b/m"):
        assert fleet.at(name).breaker.state(fleet.now) is CLOSED
        assert fleet.at(name).endpoint.state(fleet.now) is CLOSED
        assert fleet.at(name).breaker.consecutive_failures == 0
        assert availability(fleet, name) == pytest.approx(PRIOR, abs=1e-3)


def test_breakers_that_our_network_opened_are_closed_again() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("a/m", 3, KIND.CONNECTION)

    assert fleet.at("a/m").breaker.state(fleet.now) is OPEN
    assert fleet.at("a/m").endpoint.state(fleet.now) is OPEN

    fleet.events.clear()
    fleet.ended("b/m", KIND.CONNECTION)

    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED
    assert fleet.at("a/m").endpoint.state(fleet.now) is CLOSED
    assert fleet.names() == [EventName.LOCAL_NETWORK, EventName.BREAKER_CLOSED, EventName.ENDPOINT_CLOSED]


def test_success_anywhere_makes_connection_failures_count_again() -> None:
    fleet = LiveFleet("a/m", "b/m", "c/m")
    fleet.ended("a/m", KIND.CONNECTION)
    fleet.ended("b/m", KIND.CONNECTION)
    fleet.ended("c/m")
    fleet.ended("a/m", KIND.CONNECTION)

    assert fleet.at("a/m").breaker.consecutive_failures == 1


def test_trial_that_met_our_own_network_frees_its_slot_and_says_nothing() -> None:
    fleet = LiveFleet("a/m", "b/m", "c/m")
    fleet.opened("a/m")
    fleet.ended("b/m", KIND.CONNECTION)
    fleet.ended("c/m", KIND.CONNECTION)
    fleet.tried("a/m", KIND.CONNECTION)

    assert fleet.at("a/m").breaker.state(fleet.now) is HALF_OPEN
    assert fleet.lease("a/m") is not None


# Credentials.


def keyed(*labels: str) -> LiveFleet:
    credentials = tuple(CredentialSpec(label=label) for label in labels)
    return LiveFleet(spec("a/m", credentials=credentials, needs_credential=True))


def reason(fleet: LiveFleet, *, executing: bool = True) -> RejectionReason | None:
    return fleet.state.credentials.verdict(fleet.at("a/m").spec, tenant="", executing=executing, now=fleet.now).reason


def test_rate_limit_of_an_attempt_cools_its_credential_and_is_told() -> None:
    fleet = keyed("k")
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="k", retry_after_seconds=30.0)

    assert reason(fleet) is RejectionReason.COOLING_DOWN
    assert fleet.names() == [EventName.COOLING_DOWN]
    assert dict(fleet.events[0].fields) == {"credential": "k", "failure": "RATE_LIMITED", "seconds": 30.0}

    fleet.now += 30.0

    assert reason(fleet) is None


def test_wrong_key_and_its_return_are_told() -> None:
    fleet = keyed("k")
    fleet.ended("a/m", KIND.AUTHENTICATION, credential="k")
    fleet.now += 5.0
    fleet.ended("a/m", KIND.AUTHENTICATION, credential="k")

    assert reason(fleet) is RejectionReason.CREDENTIALS

    fleet.now += 60.0
    fleet.ended("a/m", credential="k")

    assert fleet.names() == [EventName.CREDENTIAL_OUT, EventName.CREDENTIAL_BACK]


def test_report_of_a_callers_key_leaves_ours_alone_and_does_not_repeat_its_label() -> None:
    fleet = keyed("k")
    fleet.reported("a/m", KIND.RATE_LIMITED, credential="sk-planted", retry_after_seconds=30.0)

    assert reason(fleet) is None
    assert reason(fleet, executing=False) is RejectionReason.COOLING_DOWN
    assert "sk-planted" not in repr(fleet.events)


def test_caller_whose_key_works_is_seen_beside_one_whose_key_does_not() -> None:
    fleet = keyed("k")
    fleet.reported("a/m", KIND.RATE_LIMITED, credential="x", retry_after_seconds=30.0)
    fleet.reported("a/m", credential="y")

    assert reason(fleet, executing=False) is None


def test_rate_limit_headers_of_any_answer_feed_the_headroom() -> None:
    fleet = keyed("k")
    reading = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=1, reset_seconds=20.0))
    fleet.ended("a/m", credential="k", rate_limit=reading)

    assert reason(fleet) is None

    fleet.started("a/m", credential="k")

    assert reason(fleet) is RejectionReason.RATE_LIMIT


# What counts, and how often.


def test_outcome_counts_once() -> None:
    fleet = LiveFleet("a/m")
    first = fleet.reported("a/m", KIND.SERVER_ERROR, attempt_id="one")
    second = fleet.reported("a/m", KIND.SERVER_ERROR, attempt_id="one")

    assert (first.result, second.result) == (RecordResult.ACCEPTED, RecordResult.DUPLICATE)
    assert fleet.at("a/m").statistics.window(60.0, fleet.now).total == 1
    assert availability(fleet) == pytest.approx(24.9 / 26.0)


def test_our_own_attempt_reported_by_a_caller_is_a_duplicate() -> None:
    fleet = LiveFleet("a/m")
    fleet.state.history.add(fleet._decision, RouteQuery())
    attempt_id = fleet.started("a/m")
    decision_id = fleet._decision.decision_id
    early = fleet.reported("a/m", attempt_id=attempt_id, decision_id=decision_id)
    own = fleet.ended("a/m", attempt_id=attempt_id, decision_id=decision_id)
    late = fleet.reported("a/m", attempt_id=attempt_id, decision_id=decision_id)

    assert [r.result for r in (early, own, late)] == [
        RecordResult.REJECTED,
        RecordResult.ACCEPTED,
        RecordResult.DUPLICATE,
    ]
    assert fleet.at("a/m").in_flight == 0


def test_report_about_an_unknown_target_is_rejected_with_its_name() -> None:
    fleet = LiveFleet("a/m")
    outcome = Outcome(target=Target("x", "y"), attempt_id="1", reported=True)
    recorded = fleet.state.record(outcome, call_id="1", now=fleet.now, in_flight=False)

    assert recorded.result is RecordResult.REJECTED
    assert "x/y" in recorded.reason


def test_report_without_an_attempt_id_is_rejected() -> None:
    assert LiveFleet("a/m").reported("a/m", attempt_id="").result is RecordResult.REJECTED


@pytest.mark.parametrize("decision_id", ["", "long forgotten"])
def test_reports_that_no_decision_vouches_for_count_with_bounded_weight(decision_id: str) -> None:
    fleet = LiveFleet("a/m")
    for _ in range(100):
        recorded = fleet.reported("a/m", KIND.SERVER_ERROR, decision_id=decision_id)

        assert recorded.result is RecordResult.ACCEPTED

    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED
    assert availability(fleet) == pytest.approx(24.9 / 29.9, rel=0.01)
    assert fleet.at("a/m").statistics.window(60.0, fleet.now).total == 100

    fleet.now += 10.0
    fleet.reported("a/m", KIND.SERVER_ERROR, decision_id=decision_id)

    assert availability(fleet) < 24.9 / 30.0


def test_reports_of_a_known_decision_count_in_full() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(10):
        fleet.reported("a/m", KIND.SERVER_ERROR)

    assert fleet.at("a/m").breaker.state(fleet.now) is OPEN


def test_feedback_joins_the_attempts_record_and_the_statistics() -> None:
    fleet = LiveFleet("a/m")
    fleet.reported("a/m", attempt_id="one")
    judgement = Feedback(decision_id=fleet._decision.decision_id, attempt_id="one", quality=0.5)
    results = [fleet.state.feedback(judgement, fleet.now).result for _ in range(2)]
    record = fleet.state.history.get(fleet._decision.decision_id)

    assert record is not None
    assert record.attempts[0].quality == 0.5
    assert fleet.at("a/m").statistics.window(60.0, fleet.now).feedback_sum == 0.5
    assert results == [RecordResult.ACCEPTED, RecordResult.DUPLICATE]


@pytest.mark.parametrize("quality", [-0.1, 1.1, float("nan"), float("inf")])
def test_feedback_out_of_range_is_rejected(quality: float) -> None:
    fleet = LiveFleet("a/m")
    fleet.reported("a/m", attempt_id="one")
    judgement = Feedback(decision_id=fleet._decision.decision_id, attempt_id="one", quality=quality)

    assert fleet.state.feedback(judgement, fleet.now).result is RecordResult.REJECTED


# Suspect.


def test_target_gone_quiet_is_suspect_before_any_timeout_until_one_answers() -> None:
    fleet = LiveFleet("a/m")
    attempts = [fleet.started("a/m") for _ in range(5)]
    fleet.now += 3.0

    assert not fleet.at("a/m").suspect(fleet.now)

    fleet.now += 0.1

    assert fleet.at("a/m").suspect(fleet.now)
    assert fleet.expire() == [EventName.SUSPECT]
    assert fleet.expire() == []

    fleet.state.first_token(attempts[0], fleet.now)

    assert not fleet.at("a/m").suspect(fleet.now)
    assert fleet.at("a/m").breaker.state(fleet.now) is CLOSED


def test_unary_answer_is_a_sign_of_life_too() -> None:
    fleet = LiveFleet("a/m")
    attempts = [fleet.started("a/m") for _ in range(6)]
    fleet.now += 5.0
    fleet.ended("a/m", attempt_id=attempts[0])

    assert not fleet.at("a/m").suspect(fleet.now)


# What it teaches, what is in flight, what has changed.


def test_attempt_is_in_flight_until_it_ends_once() -> None:
    fleet = LiveFleet("a/m")
    attempt_id = fleet.started("a/m")

    assert fleet.at("a/m").in_flight == 1

    fleet.ended("a/m", attempt_id=attempt_id)
    fleet.ended("a/m", attempt_id=attempt_id)

    assert fleet.at("a/m").in_flight == 0


def answered(fleet: LiveFleet, **facts: Any) -> None:
    usage = Usage(input_tokens=500, output_tokens=100, **facts)
    fleet.ended("a/m", latency_seconds=9.0, usage=usage, input_bytes=1000, task="chat")


def test_answer_teaches_latency_lengths_and_tokens() -> None:
    fleet = LiveFleet("a/m")
    answered(fleet)

    assert fleet.at("a/m").latency.sample_count == 1
    assert fleet.state.lengths.expected("chat", "a", "m") < 400.0
    assert fleet.state.token_ratios.ratio("a", "m") > 0.25


def test_estimated_counts_teach_nothing_about_counting() -> None:
    fleet = LiveFleet("a/m")
    answered(fleet, source=UsageSource.ESTIMATED)

    assert fleet.at("a/m").latency.sample_count == 1
    assert fleet.state.lengths.expected("chat", "a", "m") == 400.0
    assert fleet.state.token_ratios.ratio("a", "m") == 0.25


def test_failed_attempt_teaches_no_latency() -> None:
    fleet = LiveFleet("a/m")
    fleet.ended("a/m", KIND.SERVER_ERROR, latency_seconds=0.01)

    assert fleet.at("a/m").latency.sample_count == 0


def test_changes_are_told_by_revision() -> None:
    fleet = LiveFleet("a/m", "b/m")
    revision = fleet.state.revision
    fleet.ended("b/m")

    assert fleet.state.changed_since(revision) == [1]
    assert fleet.state.changed_since(fleet.state.revision) == []

    revision = fleet.state.revision
    fleet.state.set_drained(0, drained=True)

    assert fleet.at("a/m").drained
    assert fleet.state.changed_since(revision) == [0]


def test_what_an_endpoint_or_a_key_suffers_changes_all_who_share_it() -> None:
    fleet = LiveFleet("a/m1", "a/m2", "a/m3", "b/m")
    revision = fleet.state.revision
    for name in ("a/m1", "a/m2", "a/m1"):
        fleet.ended(name, KIND.SERVER_ERROR)

    assert fleet.state.changed_since(revision) == [0, 1, 2]

    revision = fleet.state.revision
    fleet.ended("a/m1", KIND.QUOTA_EXHAUSTED)

    assert fleet.state.changed_since(revision) == [0, 1, 2]


def test_trial_of_our_own_teaches_no_length_of_answers() -> None:
    fleet = LiveFleet("a/m")
    one_token = Usage(input_tokens=8, output_tokens=1)
    fleet.ended("a/m", off_path=True, usage=one_token)
    after_trial = fleet.state.lengths.expected("", "a", "m")
    fleet.ended("a/m", usage=one_token)

    assert OUTPUT_TOKENS == after_trial
    assert OUTPUT_TOKENS > fleet.state.lengths.expected("", "a", "m")
