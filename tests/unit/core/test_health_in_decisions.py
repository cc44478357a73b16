"""What the fleet's real state does to decisions: who is left out, until when, and who comes last."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.unit.core.fleets import names, rejection, spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.decide import decide, unavailable
from turnout_server.core.decision import Decision
from turnout_server.core.errors import AllTargetsUnavailableError
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.model import (
    FailureKind,
    Priority,
    RateLimitBucket,
    RateLimitReading,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
)
from turnout_server.core.settings import RoutingSettings

KIND = FailureKind
KEY = (CredentialSpec(label="k"),)


def ranked(fleet: LiveFleet, *, executing: bool = True, **options: Any) -> Decision:
    return decide(
        RouteQuery(
            profile=RequestProfile(input_tokens=100, task="chat"),
            options=RoutingOptions(**{"strategy": Strategy.PRIORITY, **options}),
            executing=executing,
        ),
        fleet.state,
        RoutingSettings(),
        now=fleet.now,
        now_wall=0.0,
        rng=random.Random(1),
        decision_id="d",
    )


def two() -> LiveFleet:
    return LiveFleet(spec("a/m", credentials=KEY, provider_rank=0), spec("b/m", provider_rank=1))


def test_state_of_a_fleet_is_what_decisions_read() -> None:
    assert names(ranked(two()).candidates) == ["a/m", "b/m"]


def test_open_breaker_leaves_out_until_its_reopen_time() -> None:
    fleet = two()
    fleet.fail("a/m")
    decision = ranked(fleet)

    assert names(decision.candidates) == ["b/m"]
    assert rejection(decision, "a/m").reasons == (RejectionReason.BREAKER_OPEN,)
    assert rejection(decision, "a/m").retry_at == fleet.at("a/m").breaker.reopen_at


def test_open_endpoint_leaves_out_all_its_models() -> None:
    fleet = LiveFleet("a/m1", "a/m2", "a/m3", "b/m")
    for name in ("a/m1", "a/m2", "a/m1"):
        fleet.ended(name, KIND.SERVER_ERROR)

    assert names(ranked(fleet).candidates) == ["b/m"]


def test_when_every_target_is_open_the_one_that_reopens_first_gets_the_trial() -> None:
    fleet = two()
    fleet.fail("a/m")
    fleet.fail("b/m")
    reopen_at = fleet.at("a/m").breaker.reopen_at
    error = unavailable(ranked(fleet), fleet.now)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == pytest.approx(reopen_at - fleet.now)

    fleet.now = reopen_at

    assert names(ranked(fleet).candidates) == ["a/m"]

    fleet.lease("a/m", seconds=1.0)
    error = unavailable(ranked(fleet), fleet.now)

    assert isinstance(error, AllTargetsUnavailableError)
    assert error.retry_after_seconds == pytest.approx(1.0)


def test_cool_down_leaves_out_until_its_end() -> None:
    fleet = two()
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="k", retry_after_seconds=30.0)
    decision = ranked(fleet)

    assert names(decision.candidates) == ["b/m"]
    assert rejection(decision, "a/m").reasons == (RejectionReason.COOLING_DOWN,)
    assert rejection(decision, "a/m").retry_at == fleet.now + 30.0


def test_used_up_headroom_leaves_out_until_its_reset() -> None:
    fleet = two()
    reading = RateLimitReading(requests=RateLimitBucket(limit=9, remaining=0, reset_seconds=20.0))
    fleet.ended("a/m", credential="k", rate_limit=reading)

    assert rejection(ranked(fleet), "a/m").reasons == (RejectionReason.RATE_LIMIT,)


@pytest.mark.parametrize(("remaining", "fits"), [(99, False), (100, True)])
def test_token_headroom_below_what_the_prompt_needs_leaves_out(remaining: int, fits: bool) -> None:  # noqa: FBT001
    fleet = two()
    reading = RateLimitReading(tokens=RateLimitBucket(limit=1000, remaining=remaining, reset_seconds=20.0))
    fleet.ended("a/m", credential="k", rate_limit=reading)
    decision = ranked(fleet)

    assert names(decision.candidates) == (["a/m", "b/m"] if fits else ["b/m"])
    assert fits or rejection(decision, "a/m").retry_at == fleet.now + 20.0


def test_drained_target_is_left_out() -> None:
    fleet = two()
    fleet.state.set_drained(0, drained=True)

    assert rejection(ranked(fleet), "a/m").reasons == (RejectionReason.DRAINED,)


def test_all_models_of_an_endpoint_that_was_not_reached_are_ranked_last_until_one_begins_to_answer() -> None:
    fleet = LiveFleet(*(spec(name, provider_rank=rank) for rank, name in enumerate(("a/m", "a/n", "b/m"))))
    before = names(ranked(fleet).candidates)
    fleet.ended("a/m", KIND.CONNECTION)
    doubted = ranked(fleet)
    attempt_id = fleet.started("a/n")
    fleet.now += 0.5
    fleet.state.first_token(attempt_id, fleet.now)
    after = names(ranked(fleet).candidates)

    assert (before, after) == (["a/m", "a/n", "b/m"], ["a/m", "a/n", "b/m"])
    assert names(doubted.candidates) == ["b/m", "a/m", "a/n"]
    assert doubted.candidates[2].reason == "suspect: its calls wait, or its endpoint was not reached"


def test_doubt_passes_by_itself_after_five_seconds() -> None:
    fleet = two()
    fleet.ended("a/m", KIND.CONNECTION)
    doubted = names(ranked(fleet).candidates)
    fleet.now += 5.0
    fleet.state.expire(fleet.now)

    assert (doubted, names(ranked(fleet).candidates)) == (["b/m", "a/m"], ["a/m", "b/m"])


def test_suspect_is_ranked_last_and_never_rejected() -> None:
    fleet = two()
    for _ in range(5):
        fleet.started("a/m", credential="k")
    fleet.now += 3.1

    assert names(ranked(fleet).candidates) == ["b/m", "a/m"]

    fleet.state.first_token("attempt 0", fleet.now)

    assert names(ranked(fleet).candidates) == ["a/m", "b/m"]


@pytest.mark.parametrize("word", ["UNHEALTHY", "OFFLINE"])
def test_bad_availability_alone_never_blocks(word: str) -> None:
    fleet = two()
    fleet.fail("a/m", 5 if word == "UNHEALTHY" else 80, KIND.UNKNOWN)

    assert fleet.at("a/m").health(fleet.now).value == word
    assert "a/m" in names(ranked(fleet).candidates)


def test_recovered_busy_target_ramps_and_a_quiet_one_does_not() -> None:
    factors = []
    for calls in (60, 1):
        fleet = two()
        for _ in range(calls):
            fleet.now += 0.2
            fleet.ended("a/m")
        fleet.opened("a/m")
        fleet.tried("a/m")
        fleet.tried("a/m")
        candidate = next(c for c in ranked(fleet).candidates if str(c.target) == "a/m")
        factors.append(candidate.factors.get("ramp"))

    assert factors == [pytest.approx(0.1), None]


def test_trial_of_a_silent_target_is_for_patient_callers_and_off_the_path_of_ours() -> None:
    fleet = two()
    fleet.opened("a/m", KIND.TIMEOUT)

    assert names(ranked(fleet, executing=False, priority=Priority.HIGH).candidates) == ["b/m"]
    assert names(ranked(fleet, executing=False, priority=Priority.LOW).candidates) == ["a/m", "b/m"]

    ours = ranked(fleet)

    assert names(ours.candidates) == ["b/m", "a/m"]
    assert [str(target) for target in ours.probes_wanted] == ["a/m"]


def test_our_own_networks_fault_leaves_nobody_out() -> None:
    fleet = two()
    for _ in range(10):
        fleet.now += 0.4
        fleet.ended("a/m", KIND.CONNECTION)
        fleet.ended("b/m", KIND.CONNECTION)

    assert names(ranked(fleet).candidates) == ["a/m", "b/m"]


@pytest.mark.parametrize(("calls_each_second", "ramps"), [(3.0, True), (0.5, False)])
def test_busy_targets_of_an_endpoint_that_recovered_come_back_slowly(calls_each_second: float, ramps: bool) -> None:  # noqa: FBT001
    fleet = LiveFleet("a/m", "a/n", "b/m")
    for _ in range(100):
        fleet.now += 1.0 / calls_each_second
        fleet.ended("a/m")
    for _ in range(3):
        fleet.ended("a/n", KIND.CONNECTION)
    fleet.now = fleet.at("a/m").endpoint.reopen_at
    for _ in range(2):
        fleet.ended("a/m", probe_id=fleet.lease("a/m") or "")

    first = next(c for c in ranked(fleet).candidates if str(c.target) == "a/m")

    assert (first.factors.get("ramp") == pytest.approx(0.1)) is ramps
