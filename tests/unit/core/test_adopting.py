"""Another fleet while the sidecar runs: what stays keeps its state, what is new has none, and nothing gets lost."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import EXACT, START, LiveFleet
from turnout_server.core.events import EventName
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.model import (
    BreakerState,
    FailureKind,
    Feedback,
    Outcome,
    RateLimitBucket,
    RateLimitReading,
    RouteQuery,
)
from turnout_server.core.settings import BreakerSettings, FailoverSettings, HealthSettings, Settings
from turnout_server.core.state import REMOVED_MAXIMUM, Adopted, RecordResult

KIND = FailureKind


def adopt(fleet: LiveFleet, *specs: str | TargetSpec, settings: Settings = EXACT) -> Adopted:
    made = tuple(spec(each) if isinstance(each, str) else each for each in specs)
    return fleet.state.adopt(Fleet(made), settings)


def names(adopted: Adopted) -> tuple[list[str], list[str]]:
    return [str(target) for target in adopted.added], [str(target) for target in adopted.removed]


def keyed(name: str, *labels: str) -> TargetSpec:
    return spec(name, credentials=tuple(CredentialSpec(label=label) for label in labels))


# What stays.


def test_adopting_tells_what_is_new_and_what_is_gone() -> None:
    fleet = LiveFleet("a/m", "b/m")

    assert names(adopt(fleet, "c/m", "b/m")) == (["c/m"], ["a/m"])
    assert names(adopt(fleet, "b/m", "c/m")) == ([], [])


def test_target_that_stays_keeps_its_health_at_another_place() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("b/m")
    fleet.state.set_drained(1, drained=True)
    availability = fleet.at("b/m").availability.value(fleet.now)
    adopt(fleet, "x/m", "y/m", "b/m")

    assert fleet.at("b/m").index == 2
    assert fleet.at("b/m").breaker.state(fleet.now) is BreakerState.OPEN
    assert fleet.at("b/m").availability.value(fleet.now) == availability
    assert fleet.at("b/m").drained


def test_target_that_stays_keeps_what_is_known_of_its_latency() -> None:
    fleet = LiveFleet("a/m")
    fleet.ended("a/m", latency_seconds=30.0, time_to_first_token_seconds=20.0, streamed=True)
    before = fleet.at("a/m").latency.time_to_first_token(0, fleet.now)
    adopt(fleet, spec("a/m", latency_prior_seconds=0.1))

    assert fleet.at("a/m").latency.time_to_first_token(0, fleet.now) == before


def test_target_that_was_never_used_follows_its_new_prior() -> None:
    fleet = LiveFleet("a/m")
    adopt(fleet, spec("a/m", latency_prior_seconds=7.0))

    assert fleet.at("a/m").latency.time_to_first_token(0, fleet.now) == 7.0


def test_target_that_stays_takes_its_new_facts() -> None:
    fleet = LiveFleet("a/m")
    adopt(fleet, spec("a/m", max_concurrency=1))
    fleet.started("a/m")

    assert not fleet.at("a/m").has_room()


def test_target_at_another_address_starts_anew() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m")

    assert names(adopt(fleet, spec("a/m", base_url="https://elsewhere.example"))) == (["a/m"], ["a/m"])
    assert fleet.at("a/m").breaker.closed
    assert fleet.at("a/m").endpoint.closed


def test_target_that_comes_back_after_it_was_removed_starts_anew() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("a/m")
    adopt(fleet, "b/m")
    adopt(fleet, "a/m", "b/m")

    assert fleet.at("a/m").breaker.closed


def test_endpoint_stays_open_for_a_model_that_is_new_there() -> None:
    fleet = LiveFleet("a/m", "a/n")
    for name in ("a/m", "a/n", "a/m"):
        fleet.ended(name, KIND.SERVER_ERROR)
    adopt(fleet, "a/new")

    assert fleet.at("a/new").endpoint.state(fleet.now) is BreakerState.OPEN


def test_models_of_one_endpoint_share_its_breaker_after_adopting_too() -> None:
    fleet = LiveFleet("a/m")
    adopt(fleet, "a/m", "a/n")
    for name in ("a/m", "a/n", "a/m"):
        fleet.ended(name, KIND.SERVER_ERROR)

    assert fleet.at("a/m").endpoint is fleet.at("a/n").endpoint
    assert not fleet.at("a/n").endpoint.closed


def test_restless_target_becomes_half_open_at_its_new_place() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("b/m")
    adopt(fleet, "b/m")
    fleet.now += 5.0

    assert fleet.expire() == [EventName.BREAKER_HALF_OPEN]
    assert fleet.at("b/m").breaker.state(fleet.now) is BreakerState.HALF_OPEN


def test_everything_counts_as_changed() -> None:
    fleet = LiveFleet("a/m", "b/m")
    before = fleet.state.revision
    adopt(fleet, "a/m", "b/m", "c/m")

    assert fleet.state.changed_since(before) == [0, 1, 2]
    assert fleet.state.changed_since(fleet.state.revision) == []


def test_removed_targets_are_told_until_they_are_back() -> None:
    fleet = LiveFleet("a/m", "b/m", "c/m")
    before = fleet.state.revision
    adopt(fleet, "a/m")

    assert [str(target) for target in fleet.state.removed_since(before)] == ["b/m", "c/m"]
    assert fleet.state.removed_since(fleet.state.revision) == []

    adopt(fleet, "a/m", "c/m")

    assert [str(target) for target in fleet.state.removed_since(before)] == ["b/m"]


def test_only_so_many_removed_targets_are_remembered() -> None:
    fleet = LiveFleet("a/m")
    for start in (0, 4000, 8000):
        adopt(fleet, *(f"p/m{n}" for n in range(start, start + 4000)))

    assert len(fleet.state.removed_since(0)) == REMOVED_MAXIMUM
    assert str(fleet.state.removed_since(0)[-1]) == "p/m7999"


# Calls that run meanwhile.


def test_attempt_of_a_target_that_stays_ends_where_it_began() -> None:
    fleet = LiveFleet("a/m", "b/m")
    attempt_id = fleet.started("b/m")
    adopt(fleet, "b/m", "a/m")

    assert [target.in_flight for target in fleet.state.targets] == [1, 0]

    fleet.ended("b/m", attempt_id=attempt_id)

    assert [target.in_flight for target in fleet.state.targets] == [0, 0]
    assert fleet.at("b/m").statistics.last_success_at == fleet.now


def test_attempt_of_a_target_that_was_removed_ends_without_touching_another() -> None:
    fleet = LiveFleet("a/m", "b/m")
    target = fleet.at("a/m").spec.target
    attempt_id = fleet.started("a/m")
    adopt(fleet, "c/m")
    before = fleet.state.revision
    fleet.state.first_token(attempt_id, fleet.now)
    outcome = Outcome(target=target, failure=KIND.SERVER_ERROR, attempt_id=attempt_id)
    recorded = fleet.state.record(outcome, call_id="c", now=fleet.now, in_flight=True)

    assert recorded.result is RecordResult.ACCEPTED
    assert fleet.state.revision == before
    assert fleet.at("c/m").in_flight == 0
    assert fleet.at("c/m").breaker.consecutive_failures == 0


def test_attempt_of_a_removed_target_does_not_count_for_the_one_that_came_back() -> None:
    fleet = LiveFleet("a/m")
    attempt_id = fleet.started("a/m")
    adopt(fleet, "b/m")
    adopt(fleet, "a/m")
    fleet.ended("a/m", KIND.SERVER_ERROR, attempt_id=attempt_id)

    assert fleet.at("a/m").in_flight == 0
    assert fleet.at("a/m").breaker.consecutive_failures == 0


def test_trial_of_a_removed_target_gives_its_endpoint_back() -> None:
    fleet = LiveFleet("a/m", "a/n")
    for name in ("a/m", "a/n", "a/m"):
        fleet.ended(name, KIND.SERVER_ERROR)
    fleet.now += 30.0
    probe_id = fleet.lease("a/m")
    attempt_id = fleet.started("a/m")
    gone = fleet.at("a/m").spec.target

    assert probe_id is not None

    adopt(fleet, "a/n")

    assert not fleet.at("a/n").endpoint.admits(fleet.now)

    outcome = Outcome(target=gone, attempt_id=attempt_id, probe_id=probe_id)
    fleet.state.record(outcome, call_id="c", now=fleet.now, in_flight=True)

    assert fleet.at("a/n").endpoint.admits(fleet.now)


def test_waiting_attempts_still_make_a_target_suspect() -> None:
    fleet = LiveFleet("a/m", "b/m")
    for _ in range(5):
        fleet.started("b/m")
    adopt(fleet, "b/m")
    fleet.now += 3.1

    assert fleet.at("b/m").suspect(fleet.now)
    assert fleet.expire()


def test_connection_failures_of_a_removed_target_are_forgiven_without_harm() -> None:
    fleet = LiveFleet("x/m", "y/m", "a/m", "b/m")
    fleet.ended("a/m", KIND.CONNECTION)
    adopt(fleet, "b/m")
    fleet.ended("b/m", KIND.CONNECTION)

    assert fleet.at("b/m").breaker.consecutive_failures == 0


def test_report_of_a_target_that_was_removed_is_rejected() -> None:
    fleet = LiveFleet("a/m", "b/m")
    target = fleet.at("a/m").spec.target
    adopt(fleet, "b/m")
    outcome = Outcome(target=target, attempt_id="x", reported=True)

    assert fleet.state.record(outcome, call_id="x", now=START, in_flight=False).result is RecordResult.REJECTED


def told_by_a_caller(fleet: LiveFleet, name: str, **facts: str) -> RecordResult:
    given = {"attempt_id": "x", "decision_id": fleet._decision.decision_id} | facts
    outcome = Outcome(target=spec(name).target, reported=True, **given)  # type: ignore[arg-type]  # all of them texts
    return fleet.state.record(outcome, call_id="x", now=fleet.now, in_flight=False).result


def test_report_of_a_target_that_was_removed_since_it_was_decided_is_kept_and_counts_for_nothing_else() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.state.history.add(fleet._decision, RouteQuery())
    adopt(fleet, "b/m")
    revision = fleet.state.revision

    assert told_by_a_caller(fleet, "a/m") is RecordResult.ACCEPTED
    assert told_by_a_caller(fleet, "a/m") is RecordResult.DUPLICATE
    assert told_by_a_caller(fleet, "a/m", attempt_id="") is RecordResult.REJECTED
    assert told_by_a_caller(fleet, "a/m", attempt_id="y", decision_id="unknown") is RecordResult.REJECTED
    assert told_by_a_caller(fleet, "never/there", attempt_id="z") is RecordResult.REJECTED
    record = fleet.state.history.get(fleet._decision.decision_id)
    assert record is not None
    assert [attempt.outcome.attempt_id for attempt in record.attempts] == ["x"]
    assert fleet.state.revision == revision


def test_target_that_was_removed_may_still_be_called_by_who_began_before() -> None:
    fleet = LiveFleet("a/m", "b/m")
    target = fleet.at("a/m")
    adopt(fleet, "b/m")
    revision = fleet.state.revision
    fleet.state.attempt_started(target, credential="", call_id="c", attempt_id="x", now=fleet.now)

    assert target.in_flight == 1

    fleet.state.record(Outcome(target=target.spec.target, attempt_id="x"), call_id="c", now=fleet.now, in_flight=True)

    assert target.in_flight == 0
    assert fleet.state.revision == revision
    assert not fleet.state._restless


def test_feedback_on_a_removed_target_is_taken_without_harm() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.reported("a/m", attempt_id="x")
    adopt(fleet, "b/m")
    judgement = Feedback(decision_id=fleet._decision.decision_id, attempt_id="x", quality=1.0)

    assert fleet.state.feedback(judgement, fleet.now).result is RecordResult.ACCEPTED


# Credentials.


def usable(fleet: LiveFleet, name: str) -> str | None:
    target = fleet.at(name).spec
    return fleet.state.credentials.verdict(target, tenant="", executing=True, now=fleet.now).label


def test_credential_that_stays_keeps_its_cool_down() -> None:
    fleet = LiveFleet(keyed("a/m", "k", "l"), "b/m")
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="k", retry_after_seconds=60.0)
    adopt(fleet, "b/m", keyed("a/m", "k", "l"))

    assert usable(fleet, "a/m") == "l"


def test_credential_that_was_removed_is_forgotten() -> None:
    fleet = LiveFleet(keyed("a/m", "k"))
    fleet.ended("a/m", KIND.QUOTA_EXHAUSTED, credential="k", retry_after_seconds=600.0)
    adopt(fleet, keyed("a/m", "l"))
    adopt(fleet, keyed("a/m", "k"))

    assert usable(fleet, "a/m") == "k"


def test_credentials_of_a_provider_that_was_removed_are_forgotten() -> None:
    fleet = LiveFleet("a/m", "b/m")
    used_up = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=0, reset_seconds=600.0))
    fleet.ended("a/m", rate_limit=used_up)
    adopt(fleet, "a/m")

    assert usable(fleet, "a/m") is None

    adopt(fleet, "b/m")
    adopt(fleet, "a/m")

    assert usable(fleet, "a/m") == ""


def test_new_credential_of_a_target_that_stays_is_used() -> None:
    fleet = LiveFleet(keyed("a/m", "k"))

    assert usable(fleet, "a/m") == "k"

    adopt(fleet, keyed("a/m", "new"))

    assert usable(fleet, "a/m") == "new"


# Settings.


def test_targets_that_stay_follow_new_settings() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", count=1)
    failover = FailoverSettings(
        breaker=BreakerSettings(consecutive_failures=2, open_seconds=100.0, open_jitter=0.0, open_max_seconds=100.0)
    )
    adopt(fleet, "a/m", settings=Settings(failover=failover))
    fleet.fail("a/m", count=1)

    assert fleet.at("a/m").breaker.reopen_at == fleet.now + 100.0


def test_endpoints_and_credentials_follow_new_settings() -> None:
    fleet = LiveFleet("a/m", "a/n")
    health = HealthSettings(endpoint_failures=2, cooldown_seconds=40.0, cooldown_jitter=0.0)
    adopt(fleet, "a/m", "a/n", settings=Settings(failover=FailoverSettings(health=health)))
    fleet.ended("a/m", KIND.RATE_LIMITED)
    fleet.ended("a/m", KIND.SERVER_ERROR)
    fleet.ended("a/n", KIND.SERVER_ERROR)
    verdict = fleet.state.credentials.verdict(fleet.at("a/m").spec, tenant="", executing=True, now=fleet.now)

    assert not fleet.at("a/m").endpoint.closed
    assert verdict.retry_at == fleet.now + 40.0


def test_suspicion_and_availability_follow_new_settings() -> None:
    fleet = LiveFleet("a/m")
    health = HealthSettings(suspect_attempts=2, window_seconds=1e9)
    adopt(fleet, "a/m", settings=Settings(failover=FailoverSettings(health=health)))
    fleet.ended("a/m", KIND.UNKNOWN)
    known = fleet.at("a/m").availability.value(fleet.now)
    fleet.started("a/m")
    fleet.started("a/m")
    fleet.now += 100.0

    assert fleet.at("a/m").suspect(fleet.now)
    assert abs(known - fleet.at("a/m").availability.value(fleet.now)) < 1e-6


def test_retry_budget_follows_new_settings() -> None:
    fleet = LiveFleet("a/m")
    adopt(fleet, "a/m", settings=Settings(failover=FailoverSettings(retry_budget_floor=0)))

    assert not fleet.state.retry_budget.try_spend(fleet.now)


def test_retry_budget_keeps_what_was_spent_where_settings_stay() -> None:
    fleet = LiveFleet("a/m")
    while fleet.state.retry_budget.try_spend(fleet.now):
        pass
    adopt(fleet, "a/m", "b/m")

    assert not fleet.state.retry_budget.try_spend(fleet.now)


def test_retry_budget_keeps_what_was_spent_where_others_of_its_settings_change() -> None:
    fleet = LiveFleet("a/m")
    while fleet.state.retry_budget.try_spend(fleet.now):
        pass
    adopt(fleet, "a/m", settings=Settings(failover=FailoverSettings(idle_timeout_seconds=1.0)))

    assert not fleet.state.retry_budget.try_spend(fleet.now)

    adopt(fleet, "a/m", settings=Settings(failover=FailoverSettings(retry_budget_floor=4)))

    assert fleet.state.retry_budget.remaining(fleet.now) == 1.0


def test_equal_facts_are_held_once_and_an_equal_fleet_is_the_same() -> None:
    before = Fleet((spec("a/m"), spec("b/m")))
    changed = Fleet((spec("a/m"), spec("b/m", quality=1.0)))

    assert Fleet((spec("a/m"), spec("b/m"))).sharing(before) is before
    assert [one is other for one, other in zip(changed.sharing(before).specs, before.specs, strict=True)] == [
        True,
        False,
    ]
    assert changed.sharing(before).specs == changed.specs
    assert Fleet((spec("b/m"), spec("a/m"))).sharing(before).specs == (spec("b/m"), spec("a/m"))


def test_history_follows_a_smaller_bound_at_once() -> None:
    fleet = LiveFleet("a/m")
    fleet.reported("a/m")

    assert len(fleet.state.history) == 1

    adopt(fleet, "a/m", settings=dataclasses.replace(EXACT, history_max_bytes=0))

    assert len(fleet.state.history) == 0


@given(st.lists(st.one_of(st.integers(0, 5), st.sets(st.integers(0, 5), min_size=1)), max_size=40))
def test_calls_in_flight_are_never_lost_nor_ended_twice(steps: list[int | set[int]]) -> None:
    """A number begins a call of that target where it is there; a set is the next fleet. At the end all calls end."""
    names = [f"p{n % 2}/m{n}" for n in range(6)]
    fleet = LiveFleet(*names)
    running: dict[str, str] = {}
    for step in steps:
        if isinstance(step, set):
            adopt(fleet, *(names[n] for n in sorted(step)))
        elif fleet.state.fleet.resolve(names[step]):
            running[fleet.started(names[step])] = names[step]
    for attempt_id, name in running.items():
        outcome = Outcome(target=spec(name).target, attempt_id=attempt_id)
        recorded = fleet.state.record(outcome, call_id=attempt_id, now=fleet.now, in_flight=True)

        assert recorded.result is RecordResult.ACCEPTED

    assert all(target.in_flight == 0 for target in fleet.state.targets)
    assert not fleet.state._running
