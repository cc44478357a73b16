"""The one word that says how a target is, the figures beside it, and the orders."""

from __future__ import annotations

import pytest

from tests.unit.commands.live.samples import CLOSED, HALF_OPEN, OPEN, at, lasting, provider, seen, target
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.target_rows import Tone, arranged, target_rows

UNHEALTHY = pb.HEALTH_STATE_UNHEALTHY


@pytest.mark.parametrize(
    ("state", "endpoint", "expected"),
    [
        ({}, {}, ("healthy", Tone.GOOD)),
        ({"health": UNHEALTHY}, {}, ("unhealthy", Tone.BAD)),
        ({"breaker": OPEN, "reopen_time": at(4)}, {}, ("open 4s", Tone.BAD)),
        ({"breaker": HALF_OPEN}, {}, ("half-open", Tone.WARN)),
        ({}, {"breaker": OPEN, "reopen_time": at(90)}, ("open 90s *", Tone.BAD)),
        ({}, {"breaker": HALF_OPEN}, ("half-open *", Tone.WARN)),
        ({"cool_down_until": at(12)}, {}, ("cooling 12s", Tone.WARN)),
        ({}, {"cool_down_until": at(12)}, ("cooling 12s", Tone.WARN)),
        ({}, {"credentials": [pb.CredentialState(label="main", usable=False)]}, ("no key works", Tone.BAD)),
        ({"suspect": True}, {}, ("suspect", Tone.WARN)),
        ({"throttle": 0.3}, {}, ("throttled 30%", Tone.WARN)),
        ({"drift": 0.6}, {}, ("drifting", Tone.WARN)),
        ({"drift": 0.6, "health": UNHEALTHY}, {}, ("unhealthy", Tone.BAD)),
        ({"drained": True, "breaker": OPEN, "reopen_time": at(4)}, {}, ("drained", Tone.OFF)),
    ],
)
def test_state_is_what_keeps_calls_away_else_the_health(
    state: dict[str, object], endpoint: dict[str, object], expected: tuple[str, Tone]
) -> None:
    place = pb.EndpointState(**{"breaker": CLOSED, **endpoint})  # type: ignore[arg-type] # by the contract's names
    (row,) = target_rows(seen(provider(target("north/m", **state), endpoint=place)))

    assert expected == (row.state, row.tone)


def test_key_that_only_callers_use_says_nothing_of_the_target() -> None:
    theirs = pb.CredentialState(label="theirs", reported=True, usable=False)
    ours = pb.CredentialState(label="main", usable=True)
    place = pb.EndpointState(breaker=CLOSED, credentials=[theirs, ours])
    (row,) = target_rows(seen(provider(target("north/m"), endpoint=place)))

    assert "healthy" == row.state


def test_target_that_only_callers_call_is_not_without_keys() -> None:
    theirs = pb.CredentialState(label="theirs", reported=True, usable=False)
    place = pb.EndpointState(breaker=CLOSED, credentials=[theirs])
    (row,) = target_rows(seen(provider(target("north/m"), endpoint=place)))

    assert "healthy" == row.state


def test_figures_are_per_second_and_hour_of_the_time_really_looked_back() -> None:
    state = target("north/m", request_count=30, success_rate=0.9, output_tokens=600, cost_usd=0.5, in_flight=2)
    (row,) = target_rows(seen(provider(state), window_seconds=30.0))

    assert (1.0, 20.0, 60.0, 2) == (row.calls_per_second, row.output_tokens_per_second, row.usd_per_hour, row.in_flight)
    assert row.error_rate == pytest.approx(0.1)


def test_what_is_unknown_is_none() -> None:
    (row,) = target_rows(seen(provider(target("north/m"))))

    assert (None, None, None, None) == (row.error_rate, row.p50_seconds, row.p95_seconds, row.first_token_seconds)
    assert (None,) == row.trend


def test_trend_ends_with_the_minute_under_way() -> None:
    points = [admin_pb2.TrendPoint(time=at(-120), value=0.5), admin_pb2.TrendPoint(time=at(-60))]
    state = target("north/m", latency=pb.LatencySummary(p50=lasting(0.25)))
    look = seen(provider(state), trends={"north/m": admin_pb2.GetTrendResponse(points=points)})
    (row,) = target_rows(look)

    assert (0.5, None, 0.25) == row.trend


def test_spend_is_as_far_back_as_sums_are_kept() -> None:
    groups = [admin_pb2.StatisticsGroup(name="north/m", cost_usd=3.0)]
    look = seen(
        provider(target("north/m", cost_usd=0.5), target("north/n", cost_usd=0.5)),
        statistics=admin_pb2.GetStatisticsResponse(groups=groups),
    )

    assert [3.0, 0.0] == [row.spend_usd for row in target_rows(look)]
    assert [0.5] == [row.spend_usd for row in target_rows(seen(provider(target("north/m", cost_usd=0.5))))]


def test_times_run_down_between_two_looks_and_stop_where_nobody_answers() -> None:
    state = provider(target("north/m", breaker=OPEN, reopen_time=at(10)))

    assert "open 7s" == target_rows(seen(state, age_seconds=3.0))[0].state
    assert "open 10s" == target_rows(seen(state, age_seconds=3.0, lost="gone"))[0].state


ROWS = target_rows(
    seen(
        provider(
            target("a/calm", request_count=5, success_rate=1.0, latency=pb.LatencySummary(p50=lasting(0.2))),
            target("a/slow", request_count=9, success_rate=0.99, latency=pb.LatencySummary(p50=lasting(2.0))),
            target("a/open", breaker=OPEN, reopen_time=at(4), request_count=2, success_rate=0.0),
            target("a/idle", in_flight=1, cost_usd=1.0),
        )
    )
)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("configured", ["a/calm", "a/slow", "a/open", "a/idle"]),
        ("state", ["a/open", "a/calm", "a/slow", "a/idle"]),
        ("calls", ["a/slow", "a/calm", "a/open", "a/idle"]),
        ("latency", ["a/slow", "a/calm", "a/open", "a/idle"]),
        ("errors", ["a/open", "a/slow", "a/calm", "a/idle"]),
        ("in flight", ["a/idle", "a/calm", "a/slow", "a/open"]),
        ("spend", ["a/idle", "a/calm", "a/slow", "a/open"]),
    ],
)
def test_what_should_be_looked_at_first_stands_first_and_unknown_last(order: str, expected: list[str]) -> None:
    assert expected == [row.name for row in arranged(ROWS, order=order, pattern="")]


@pytest.mark.parametrize(("pattern", "expected"), [("SLOW", ["a/slow"]), ("open", ["a/open"]), ("nobody", [])])
def test_filter_looks_at_name_and_state_whatever_the_case(pattern: str, expected: list[str]) -> None:
    assert expected == [row.name for row in arranged(ROWS, order="configured", pattern=pattern)]
