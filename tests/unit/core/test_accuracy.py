"""Accuracy of estimates: expected against actual, per model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.accuracy import ENTRIES_MAXIMUM, ERROR_MAXIMUM, UNKNOWN, Accuracies, ErrorAverage
from turnout_server.core.decide import decide
from turnout_server.core.expectation import Expected
from turnout_server.core.model import FailureKind, Outcome, RequestProfile, RouteQuery, Usage, UsageSource
from turnout_server.core.settings import RoutingSettings
from turnout_server.core.tokens import OutputLengths

M = spec("a/m")
EXPECTED = Expected(100, 200, 1.0, 2.0, 1_000)


def ended(**facts: object) -> Outcome:
    usage = Usage(input_tokens=50, output_tokens=400)
    values: dict[str, object] = {"usage": usage, "cost_nano_usd": 800, "estimated_input_tokens": 100, **facts}
    return Outcome(target=M.target, **values)  # type: ignore[arg-type]  # tests name fields


def seen(*outcomes: Outcome, expected: Expected | None = EXPECTED) -> Accuracies:
    accuracies = Accuracies()
    for outcome in outcomes:
        accuracies.observe(M, outcome, expected, OutputLengths())
    return accuracies


def test_error_is_a_share_of_the_actual_value_and_the_bias_its_direction() -> None:
    found = seen(ended()).of("a", "m")

    assert found.input_tokens is not None
    assert found.output_tokens is not None
    assert found.cost is not None
    assert (found.input_tokens.mean_absolute_error, found.input_tokens.bias) == (1.0, 1.0)
    assert (found.output_tokens.mean_absolute_error, found.output_tokens.bias) == (0.5, -0.5)
    assert found.cost.bias == pytest.approx(0.25)
    assert found.cost.sample_count == 1


def test_errors_both_ways_have_no_bias_but_an_error() -> None:
    average = ErrorAverage()
    for _ in range(200):
        average.add(150, 100)
        average.add(50, 100)

    assert average.value is not None
    assert average.value.mean_absolute_error == pytest.approx(0.5)
    assert average.value.bias == pytest.approx(0.0, abs=0.01)


def test_latest_answers_count_most() -> None:
    average = ErrorAverage()
    for expected in (200,) * 200 + (100,) * 200:
        average.add(expected, 100)

    assert average.value is not None
    assert average.value.mean_absolute_error < 0.05


@pytest.mark.parametrize(
    "facts",
    [
        {"usage": None},
        {"usage": Usage(input_tokens=50, output_tokens=400, source=UsageSource.ESTIMATED)},
        {"off_path": True},
    ],
)
def test_what_no_provider_has_counted_for_a_caller_tells_nothing(facts: dict[str, object]) -> None:
    assert seen(ended(**facts)).of("a", "m") == UNKNOWN


def test_input_that_the_caller_has_counted_is_no_estimate_of_ours() -> None:
    found = seen(ended(estimated_input_tokens=None)).of("a", "m")

    assert found.input_tokens is None
    assert found.output_tokens is not None


def test_answer_whose_decision_is_no_longer_known_is_compared_with_what_would_be_expected_now() -> None:
    found = seen(ended(), expected=None).of("a", "m")

    assert found.output_tokens is not None
    assert found.output_tokens.bias == pytest.approx(0.0)
    assert seen(ended(estimated_input_tokens=None), expected=None).of("a", "m") == UNKNOWN


def test_models_are_bounded() -> None:
    accuracies = Accuracies()
    for number in range(ENTRIES_MAXIMUM + 5):
        accuracies.observe(spec(f"a/m{number}"), ended(), EXPECTED, OutputLengths())

    assert len(accuracies._known) == ENTRIES_MAXIMUM
    assert accuracies.of("a", "m0") == UNKNOWN


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(-5, 10**9)), max_size=50))
def test_errors_stay_in_their_range(pairs: list[tuple[int, int]]) -> None:
    average = ErrorAverage()
    for expected, actual in pairs:
        average.add(expected, actual)
    found = average.value

    assert found is None or (0.0 <= found.mean_absolute_error <= ERROR_MAXIMUM + 1e-9 and -1.0 <= found.bias)


def test_status_tells_how_the_decisions_own_estimates_compare() -> None:
    live = LiveFleet("a/m")
    query = RouteQuery(profile=RequestProfile(input_bytes=400, max_output_tokens=50), executing=True)
    decision = decide(
        query,
        live.state,
        RoutingSettings(),
        now=live.now,
        now_wall=1e9,
        decision_id="d-1",
        turn=0,
        rng=random.Random(1),
    )
    live.state.past.decided(decision, query)
    live.ended("a/m", FailureKind.TIMEOUT, decision_id="d-1", usage=Usage(input_tokens=1, output_tokens=1))
    usage = Usage(input_tokens=200, output_tokens=25)
    live.ended(
        "a/m", decision_id="d-1", usage=usage, latency_seconds=1.0, cost_nano_usd=300_000, estimated_input_tokens=100
    )
    report = live.state.status(providers=(), window_seconds=300.0, now=live.now, now_wall=1e9)
    found = report.providers[0].targets[0].estimates

    assert found.input_tokens is not None
    assert found.output_tokens is not None
    assert found.cost is not None
    # 400 bytes are 100 tokens by the prior; the answer was capped at 50.
    assert (found.input_tokens.bias, found.output_tokens.bias) == (-0.5, 1.0)
    # 100 x 1 + 50 x 2 USD a million, against 300.
    assert found.cost.bias == pytest.approx(200_000 / 300_000 - 1)
