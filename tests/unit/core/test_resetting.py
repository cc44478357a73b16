"""After a reset nothing of the past keeps a target from being called, and what was learned is still there."""

from __future__ import annotations

import pytest

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import CredentialSpec, TargetSpec
from turnout_server.core.model import BreakerState, FailureKind, RateLimitBucket, RateLimitReading

KIND = FailureKind
NEW_AVAILABILITY = LiveFleet("x/m").at("x/m").availability.value(0.0)


def keyed(name: str, *labels: str) -> TargetSpec:
    return spec(name, needs_credential=True, credentials=tuple(CredentialSpec(label=label) for label in labels))


def reset(fleet: LiveFleet, *names: str) -> list[Event]:
    return fleet.state.reset_health([fleet.at(name).index for name in names], fleet.now)


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.name.value, str(event.target or event.provider)) for event in events]


def blocked(fleet: LiveFleet, name: str) -> str | None:
    verdict = fleet.state.credentials.verdict(fleet.at(name).spec, tenant="", executing=True, now=fleet.now)
    return None if verdict.reason is None else verdict.reason.value


def test_an_open_breaker_closes_and_is_as_if_it_had_never_opened() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("a/m")
    first_open = fleet.at("a/m").breaker.reopen_at - fleet.now
    fleet.now = fleet.at("a/m").breaker.reopen_at
    fleet.tried("a/m", KIND.SERVER_ERROR)
    events = reset(fleet, "a/m")
    target = fleet.at("a/m")

    assert told(events) == [("breaker.closed", "a/m")]
    assert events[0].fields == {"reason": "health.reset"}
    assert target.breaker.state(fleet.now) is BreakerState.CLOSED
    assert target.breaker.consecutive_failures == 0
    assert target.availability.value(fleet.now) == NEW_AVAILABILITY
    assert target.breaker.ramp_factor(fleet.now) == 1.0
    # It opens as late, and for as short a time, as the first time.
    fleet.fail("a/m", 2)
    assert target.breaker.closed
    fleet.fail("a/m", 1)
    assert target.breaker.state(fleet.now) is BreakerState.OPEN
    assert target.breaker.reopen_at - fleet.now == first_open


def test_the_window_of_failures_is_empty_after_it() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(9):
        fleet.now += 0.01
        fleet.ended("a/m", KIND.SERVER_ERROR, call_id="one call")
    reset(fleet, "a/m")
    # The tenth failure in 30 s would have opened it.
    fleet.now += 0.01
    fleet.ended("a/m", KIND.SERVER_ERROR)

    assert fleet.at("a/m").breaker.closed


def test_an_endpoint_that_is_open_closes_for_all_its_models() -> None:
    fleet = LiveFleet("a/m", "a/n", "b/m")
    for _ in range(3):
        fleet.now += 1.0
        fleet.ended("a/m", KIND.CONNECTION)
    assert fleet.at("a/n").endpoint.state(fleet.now) is BreakerState.OPEN
    events = reset(fleet, "a/n")

    assert ("endpoint.closed", "a") in told(events)
    assert fleet.at("a/n").endpoint.closed
    assert not fleet.at("a/n").endpoint.doubted
    assert fleet.at("a/n").endpoint.connection_failures == 0
    # What is the other model's own stays.
    assert fleet.at("a/m").breaker.consecutive_failures == 3


def test_a_trial_that_runs_says_nothing_about_a_breaker_that_was_reset() -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    probe_id = fleet.lease("a/m")
    assert probe_id is not None
    attempt_id = fleet.started("a/m")
    reset(fleet, "a/m")
    fleet.ended("a/m", KIND.SERVER_ERROR, attempt_id=attempt_id, probe_id=probe_id)

    assert fleet.at("a/m").breaker.closed
    assert fleet.at("a/m").breaker.consecutive_failures == 1


@pytest.mark.parametrize(
    "kind",
    [KIND.RATE_LIMITED, KIND.QUOTA_EXHAUSTED, KIND.AUTHENTICATION, KIND.PERMISSION_DENIED, KIND.MODEL_NOT_FOUND],
)
def test_pauses_and_outages_of_its_keys_end(kind: FailureKind) -> None:
    fleet = LiveFleet(keyed("a/m", "main"), keyed("a/n", "main"), keyed("b/m", "main"))
    for _ in range(2):
        fleet.now += 6.0
        for name in ("a/m", "b/m"):
            fleet.ended(name, kind, credential="main")
    assert blocked(fleet, "a/m") is not None
    assert blocked(fleet, "b/m") is not None
    events = reset(fleet, "a/m")

    assert blocked(fleet, "a/m") is None
    assert blocked(fleet, "b/m") is not None
    assert [(event.name, event.provider, dict(event.fields)) for event in events] == [
        (EventName.CREDENTIAL_BACK, "a", {"credential": "main", "reason": "health.reset"})
    ]


def test_what_a_key_is_refused_for_another_model_stays() -> None:
    fleet = LiveFleet(keyed("a/m", "main"), keyed("a/n", "main"))
    fleet.ended("a/n", KIND.MODEL_NOT_FOUND, credential="main")
    reset(fleet, "a/m")

    assert blocked(fleet, "a/n") == "CREDENTIALS"


def test_a_key_that_another_target_alone_has_stays_out() -> None:
    fleet = LiveFleet(keyed("a/m", "one"), keyed("a/n", "two"))
    for _ in range(2):
        fleet.now += 6.0
        fleet.ended("a/n", KIND.AUTHENTICATION, credential="two")
    reset(fleet, "a/m")

    assert blocked(fleet, "a/n") == "CREDENTIALS"


def test_a_rate_limit_that_headers_told_is_unknown_again() -> None:
    fleet = LiveFleet(keyed("a/m", "main"))
    nothing_left = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=0, reset_seconds=60.0))
    fleet.ended("a/m", credential="main", rate_limit=nothing_left)
    assert blocked(fleet, "a/m") == "RATE_LIMIT"
    reset(fleet, "a/m")

    assert blocked(fleet, "a/m") is None


def test_keys_of_callers_are_tried_again_and_not_told_of() -> None:
    fleet = LiveFleet(keyed("a/m", "main"))
    for _ in range(2):
        fleet.now += 6.0
        fleet.reported("a/m", KIND.AUTHENTICATION, credential="theirs")
    spec_of = fleet.at("a/m").spec
    before = fleet.state.credentials.verdict(spec_of, tenant="", executing=False, now=fleet.now)
    events = reset(fleet, "a/m")
    after = fleet.state.credentials.verdict(spec_of, tenant="", executing=False, now=fleet.now)

    assert (before.reason is not None, after.reason) == (True, None)
    assert events == []


def test_a_suspicion_is_forgotten_and_needs_new_attempts_to_come_back() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(5):
        fleet.started("a/m")
    fleet.now += 60.0
    assert EventName.SUSPECT in fleet.expire()
    reset(fleet, "a/m")
    fleet.now += 60.0

    assert not fleet.at("a/m").suspect(fleet.now)
    assert fleet.expire() == []


def test_what_it_is_spared_for_is_forgotten() -> None:
    fleet = LiveFleet("a/m")
    for _ in range(40):
        fleet.now += 0.01
        fleet.ended("a/m", KIND.OVERLOADED, call_id="one call")
    assert fleet.at("a/m").pressed(fleet.now)
    reset(fleet, "a/m")

    assert not fleet.at("a/m").pressed(fleet.now)
    assert fleet.at("a/m").concurrency_limit(fleet.now) is None


def test_failures_that_were_forgotten_are_not_forgiven_once_more() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.ended("a/m", KIND.CONNECTION)
    reset(fleet, "a/m")
    fleet.now += 1.0
    fleet.ended("a/m", KIND.SERVER_ERROR)
    worse = fleet.at("a/m").availability.value(fleet.now)
    fleet.ended("b/m", KIND.CONNECTION)

    # Both providers failed to connect within 5 s, but the first of them is forgotten.
    assert fleet.at("a/m").availability.value(fleet.now) == worse


def test_what_was_learned_and_what_runs_stays() -> None:
    fleet = LiveFleet(keyed("a/m", "main"))
    fleet.ended("a/m", latency_seconds=30.0, time_to_first_token_seconds=20.0, streamed=True, credential="main")
    running = fleet.started("a/m")
    fleet.fail("a/m")
    fleet.state.set_drained(0, drained=True)
    target = fleet.at("a/m")
    learned = (target.latency.sample_count, target.latency.rates(fleet.now), target.statistics.last_request_at)
    reset(fleet, "a/m")

    assert learned == (target.latency.sample_count, target.latency.rates(fleet.now), target.statistics.last_request_at)
    assert target.in_flight == 1
    assert target.drained
    fleet.ended("a/m", attempt_id=running)
    assert target.in_flight == 0


def test_of_nothing_wrong_nothing_is_told() -> None:
    fleet = LiveFleet("a/m", "b/m")

    assert reset(fleet, "a/m", "b/m") == []
