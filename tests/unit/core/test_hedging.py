"""When a first is late, who may be second, which failures end a call, and how many calls are hedged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.hedging import (
    OF_P95,
    OF_PREDICTION,
    HedgeBudget,
    Patience,
    is_final,
    may_be_second,
    patience,
    wants_hedge,
)
from turnout_server.core.latency import PREFILL_SHARE_PER_TOKEN, LatencyEstimate
from turnout_server.core.model import FailureKind, Priority, ReasoningEffort, RoutingOptions
from turnout_server.core.settings import Policy
from turnout_server.core.target_state import TargetState

NOW = 1000.0
K = FailureKind


def measured(count: int, *, slowest: float = 3.0, prior: float = 1.0) -> LatencyEstimate:
    """So many first tokens, of which each twentieth took longer than half a second."""
    estimate = LatencyEstimate(prior, 0.01)
    for number in range(count):
        first = slowest if number % 20 == 19 else 0.5
        estimate.observe(
            time_to_first_token_seconds=first,
            latency_seconds=first + 1.0,
            uncached_input_tokens=0,
            output_tokens=100,
            streamed=True,
            now=NOW + number,
        )
    return estimate


def waits(
    latency: LatencyEstimate,
    *,
    input_tokens: int = 0,
    effort: ReasoningEffort | None = None,
    streaming: bool = True,
    trial: bool = False,
    silent_thinking: bool = False,
) -> Patience | None:
    return patience(
        latency,
        spec("a/m", silent_thinking=silent_thinking),
        input_tokens=input_tokens,
        predicted_seconds=2.0,
        effort=effort,
        streaming=streaming,
        trial=trial,
    )


def test_first_token_is_late_after_the_95th_percentile_of_those_measured() -> None:
    assert Patience(0.5, OF_P95) == waits(measured(100))


@pytest.mark.parametrize(("count", "expected"), [(0, OF_PREDICTION), (19, OF_PREDICTION), (20, OF_P95)])
def test_below_twenty_measurements_it_is_late_after_one_and_a_half_times_the_prediction(
    count: int, expected: str
) -> None:
    found = waits(measured(count))

    assert found is not None
    assert found.measure == expected
    assert found.seconds == (3.0 if expected == OF_PREDICTION else 0.5)


def test_long_prompt_is_not_late_for_being_long() -> None:
    found = waits(measured(100, prior=2.0), input_tokens=100_000)

    assert found is not None
    assert found.seconds == pytest.approx(0.5 + 2.0 * PREFILL_SHARE_PER_TOKEN * 100_000)


@pytest.mark.parametrize("facts", [{"streaming": False}, {"trial": True}])
def test_prediction_counts_on_trial_and_where_nothing_shows_before_the_end(facts: dict[str, bool]) -> None:
    assert Patience(3.0, OF_PREDICTION) == waits(measured(100), **facts)  # type: ignore[arg-type]  # a table of flags


@pytest.mark.parametrize(
    ("silent_thinking", "effort", "count", "hedged"),
    [
        (True, None, 0, False),
        (False, ReasoningEffort.LOW, 0, False),
        (False, ReasoningEffort.NONE, 0, True),
        (True, None, 20, True),
        (False, ReasoningEffort.HIGH, 20, True),
    ],
)
def test_model_that_thinks_is_hedged_only_by_what_was_measured(
    silent_thinking: bool,  # noqa: FBT001  # a parameter of a table
    effort: ReasoningEffort | None,
    count: int,
    hedged: bool,  # noqa: FBT001  # a parameter of a table
) -> None:
    assert hedged == (waits(measured(count), silent_thinking=silent_thinking, effort=effort) is not None)


@pytest.mark.parametrize(
    ("policy", "options", "wanted"),
    [
        (Policy(), RoutingOptions(), False),
        (Policy(hedge=True), RoutingOptions(), True),
        (Policy(), RoutingOptions(hedge=True), True),
        (Policy(hedge=True), RoutingOptions(hedge=False), False),
        (Policy(hedge=True), RoutingOptions(hedge=True, priority=Priority.LOW), False),
        (Policy(hedge=True), RoutingOptions(priority=Priority.CRITICAL), True),
        (Policy(hedge=True), RoutingOptions(allow_fallback=False), False),
        (Policy(hedge=True), RoutingOptions(allow_fallback=True), True),
    ],
)
def test_request_decides_before_its_policy_and_low_priority_never_is(
    policy: Policy,
    options: RoutingOptions,
    wanted: bool,  # noqa: FBT001  # a parameter of a table
) -> None:
    assert wanted == wants_hedge(policy, options)


def opened(target: TargetState, now: float) -> None:
    target.breaker._open(K.SERVER_ERROR, now - 100.0, busy=False)


def endpoint_opened(target: TargetState, now: float) -> None:
    target.endpoint._open(K.CONNECTION, now - 100.0, busy=False)


def ramping(target: TargetState, now: float) -> None:
    target.breaker._open(K.SERVER_ERROR, now - 100.0, busy=True)
    target.breaker._opened_at, target.breaker._closed_at = None, now - 29.0


def endpoint_ramping(target: TargetState, now: float) -> None:
    target.endpoint._open(K.CONNECTION, now - 100.0, busy=True)
    target.endpoint._opened_at, target.endpoint._closed_at = None, now - 29.0


def waiting(target: TargetState, now: float) -> None:
    for number in range(5):
        target.suspects.started(f"attempt {number}", now - 10.0)


def refusing(target: TargetState, now: float) -> None:
    for _ in range(40):
        target.throttle.sent(now)
        target.throttle.refused(now)


@pytest.mark.parametrize("trouble", [opened, endpoint_opened, ramping, endpoint_ramping, waiting, refusing])
def test_target_that_is_not_known_to_be_well_is_never_the_second(
    trouble: Callable[[TargetState, float], None],
) -> None:
    fleet = LiveFleet("a/m")
    target = fleet.at("a/m")

    assert may_be_second(target, fleet.now)

    trouble(target, fleet.now)

    assert not may_be_second(target, fleet.now)


def test_target_is_second_again_when_its_ramp_is_over() -> None:
    fleet = LiveFleet("a/m")
    target = fleet.at("a/m")
    ramping(target, fleet.now)

    assert may_be_second(target, fleet.now + 1.0)


def test_call_ends_with_what_is_the_requests_own_fault_and_no_other_failure() -> None:
    final = {kind for kind in FailureKind if is_final(kind, failover_on_refusal=False)}

    assert final == {K.CONTENT_FILTERED, K.INVALID_REQUEST, K.CANCELLED}
    assert not is_final(K.CONTENT_FILTERED, failover_on_refusal=True)


def taken(budget: HedgeBudget, now: float) -> int:
    count = 0
    while budget.take(now):
        count += 1
    return count


@pytest.mark.parametrize(("requests", "hedges"), [(0, 1), (1, 1), (39, 1), (40, 2), (2000, 100)])
def test_one_in_twenty_calls_is_hedged_and_one_in_quiet_times(requests: int, hedges: int) -> None:
    budget = HedgeBudget()
    for _ in range(requests):
        budget.request(NOW)

    assert taken(budget, NOW) == hedges


def test_hedges_come_back_after_a_minute() -> None:
    budget = HedgeBudget()
    taken(budget, NOW)

    assert not budget.take(NOW + 56.9)
    assert budget.take(NOW + 60.0)


@given(
    pauses=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=200),
    eager=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_never_more_than_one_in_twenty_of_the_calls_of_a_minute(pauses: list[float], eager: list[bool]) -> None:
    """However calls come and however often a hedge is wanted."""
    budget, now = HedgeBudget(), NOW
    requests: list[float] = []
    hedges: list[float] = []
    for number, pause in enumerate(pauses):
        now += pause / 20.0
        budget.request(now)
        requests.append(now)
        if eager[number % len(eager)] and budget.take(now):
            hedges.append(now)
        # What the budget calls a minute are twenty pieces of three seconds, the last one begun.
        begun = now // 3.0 * 3.0 - 57.0
        recent = sum(at >= begun for at in requests)

        assert sum(at >= begun for at in hedges) <= max(1.0, 0.05 * recent)
