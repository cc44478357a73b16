"""What ProviderStatus tells: rolled up from the targets, unknown staying unknown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import START, LiveFleet
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.model import (
    BreakerState,
    FailureKind,
    HealthState,
    RateLimitBucket,
    RateLimitReading,
    Usage,
)
from turnout_server.core.status import ProviderStatus, StatusReport, TargetStatus
from turnout_server.core.status_report import TARGETS_AT_ONCE, Steps

KIND = FailureKind


def report(fleet: LiveFleet, *providers: str, window_seconds: float = 300.0) -> StatusReport:
    return fleet.state.status(
        providers=providers, window_seconds=window_seconds, now=fleet.now, now_wall=1.7e9 + fleet.now
    )


def provider(fleet: LiveFleet, name: str = "a") -> ProviderStatus:
    return report(fleet, name).providers[0]


def target(fleet: LiveFleet) -> TargetStatus:
    return provider(fleet).targets[0]


def test_all_providers_are_told_in_file_order_or_those_asked_for() -> None:
    fleet = LiveFleet("b/m", "a/m", "a/n")

    assert [each.provider for each in report(fleet).providers] == ["b", "a"]
    assert [each.provider for each in report(fleet, "a").providers] == ["a"]
    assert [str(each.target) for each in provider(fleet).targets] == ["a/m", "a/n"]


def test_target_never_used_has_unknowns_and_no_zeros_for_them() -> None:
    told = target(LiveFleet("a/m"))
    unknown = (
        told.success_rate,
        told.latency,
        told.time_to_first_token,
        told.output_tokens_per_second,
        told.cost_per_request_nano_usd,
        told.utilisation,
        told.rate_limit,
        told.headroom,
        told.last_request_at,
        told.last_success_at,
        told.last_check_at,
        told.reopen_at,
        told.cool_down_until,
    )

    assert unknown == (None,) * 13
    assert (told.health, told.request_count, told.available) == (HealthState.HEALTHY, 0, True)
    assert told.predicted_latency_seconds > 0.0


def test_target_tells_what_happened_to_it() -> None:
    fleet = LiveFleet(spec("a/m", max_concurrency=4))
    usage = Usage(input_tokens=100, output_tokens=50)
    fleet.ended(
        "a/m",
        latency_seconds=3.0,
        time_to_first_token_seconds=1.0,
        streamed=True,
        usage=usage,
        cost_nano_usd=1000,
    )
    fleet.ended("a/m", KIND.SERVER_ERROR)
    fleet.ended("a/m", KIND.TIMEOUT, cost_nano_usd=500)
    fleet.ended("a/m", KIND.TIMEOUT)
    fleet.started("a/m")
    told = target(fleet)

    assert (told.request_count, told.success_rate, told.consecutive_failures) == (4, 0.25, 3)
    assert dict(told.error_rates) == {KIND.SERVER_ERROR: 0.25, KIND.TIMEOUT: 0.5}
    assert told.latency is not None
    assert (told.latency.p50, told.latency.maximum, told.latency.moving_average) == (3.0, 3.0, 3.0)
    assert told.time_to_first_token is not None
    assert told.time_to_first_token.mean == 1.0
    assert told.output_tokens_per_second == 25.0
    assert (told.input_tokens, told.output_tokens) == (100, 50)
    assert (told.cost_nano_usd, told.cost_per_request_nano_usd) == (1500, 750)
    assert (told.in_flight, told.utilisation, told.sample_count) == (1, 0.25, 1)
    assert (told.last_request_at, told.last_success_at) == (START, START)


def test_open_target_is_offline_with_its_reopen_time_and_not_available() -> None:
    fleet = LiveFleet("a/m", "a/n")
    fleet.fail("a/m")
    told = provider(fleet)

    assert told.targets[0].breaker is BreakerState.OPEN
    assert told.targets[0].reopen_at == fleet.now + 5.0
    assert (told.targets[0].health, told.targets[0].score) == (HealthState.OFFLINE, 0.0)
    assert (told.available_target_count, told.target_count, told.health) == (1, 2, HealthState.HEALTHY)


def test_drained_full_and_cooling_targets_are_not_available() -> None:
    key = (CredentialSpec(label="k"),)
    fleet = LiveFleet(
        "a/drained",
        spec("a/full", max_concurrency=1),
        spec("a/cooling", credentials=key, needs_credential=True),
        "a/well",
    )
    fleet.state.set_drained(0, drained=True)
    fleet.started("a/full")
    fleet.ended("a/cooling", KIND.RATE_LIMITED, credential="k", retry_after_seconds=30.0)
    told = provider(fleet)

    assert [each.available for each in told.targets] == [False, False, False, True]
    assert told.targets[2].cool_down_until == fleet.now + 30.0
    assert not told.drained

    for index in range(4):
        fleet.state.set_drained(index, drained=True)

    assert provider(fleet).drained


def test_advised_provider_without_a_credential_of_ours_is_available() -> None:
    fleet = LiveFleet(spec("a/m", needs_credential=True))

    assert target(fleet).available


def test_endpoint_tells_its_breaker_and_credentials_and_cools_when_all_its_targets_do() -> None:
    facts = {"credentials": (CredentialSpec(label="k"),), "needs_credential": True, "region": "eu"}
    fleet = LiveFleet(spec("a/m@one", **facts), spec("a/n@one", **facts), spec("a/m@two"))
    fleet.ended("a/m@one", KIND.RATE_LIMITED, credential="k", retry_after_seconds=30.0)
    first, second = provider(fleet).endpoints

    assert (first.endpoint, first.region, first.breaker) == ("one", "eu", BreakerState.CLOSED)
    assert [(c.label, c.usable, c.models) for c in first.credentials] == [("k", False, ("m",))]
    assert first.cool_down_until is None
    assert (second.endpoint, second.credentials) == ("two", ())

    fleet.ended("a/n@one", KIND.RATE_LIMITED, credential="k", retry_after_seconds=20.0)

    assert provider(fleet).endpoints[0].cool_down_until == fleet.now + 20.0


def test_availability_of_a_provider_leaves_out_what_was_not_its_fault() -> None:
    fleet = LiveFleet("a/m")

    assert provider(fleet).availability is None

    for failure in (None, KIND.SERVER_ERROR, KIND.RATE_LIMITED, KIND.INVALID_REQUEST):
        fleet.ended("a/m", failure)

    assert provider(fleet).availability == 0.5
    assert provider(fleet).request_count == 4


def test_aggregate_sums_what_the_report_tells_of() -> None:
    fleet = LiveFleet("a/m", "b/m", "c/m")
    usage = Usage(input_tokens=10, output_tokens=5)
    fleet.ended("a/m", usage=usage, cost_nano_usd=7)
    fleet.fail("b/m")
    fleet.started("c/m")
    told = report(fleet).aggregate

    assert (told.target_count, told.available_target_count, told.request_count, told.in_flight) == (3, 2, 4, 1)
    assert dict(told.targets_by_health) == {HealthState.HEALTHY: 2, HealthState.OFFLINE: 1}
    assert (told.health, told.success_rate) == (HealthState.HEALTHY, 0.25)
    assert (told.input_tokens, told.output_tokens, told.cost_nano_usd) == (10, 5, 7)
    assert report(fleet, "b").aggregate.health is HealthState.OFFLINE


def test_fleet_without_targets_is_offline() -> None:
    told = report(LiveFleet()).aggregate

    assert (told.health, told.target_count, told.success_rate) == (HealthState.OFFLINE, 0, None)


@pytest.mark.parametrize("window_seconds", [60.0, 300.0, 900.0, 3600.0])
def test_window_told_is_what_the_counts_cover(window_seconds: float) -> None:
    fleet = LiveFleet("a/m")
    fleet.ended("a/m")

    assert report(fleet, window_seconds=window_seconds).window_seconds == 0.0

    fleet.now += 7200.0
    told = report(fleet, window_seconds=window_seconds)

    assert window_seconds <= told.window_seconds < window_seconds + 60.0
    assert told.providers[0].request_count == 0


def test_rate_limit_is_told_as_it_is_now() -> None:
    fleet = LiveFleet("a/m")
    reading = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=5, reset_seconds=20.0))
    fleet.ended("a/m", rate_limit=reading)
    fleet.started("a/m")
    fleet.now += 5.0
    told = target(fleet)

    assert told.rate_limit == RateLimitReading(requests=RateLimitBucket(limit=10, remaining=4, reset_seconds=15.0))
    assert told.headroom == 0.4


def test_report_names_one_moment_on_both_clocks() -> None:
    fleet = LiveFleet("a/m")
    told = report(fleet)

    assert (told.as_of, told.as_of_wall) == (START, 1.7e9 + START)


def in_pieces(steps: Steps[StatusReport]) -> tuple[int, StatusReport]:
    """Does the work; returns how many pauses there were, and what it came to."""
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return pauses, end.value
        pauses += 1


def test_the_status_of_hundreds_of_targets_is_made_piece_by_piece_and_comes_to_the_same() -> None:
    fleet = LiveFleet(*(spec(f"{'abc'[n % 3]}/m{n}") for n in range(100)))
    for n in range(100):
        fleet.ended(f"{'abc'[n % 3]}/m{n}", latency_seconds=1.0)
    wanted: dict[str, Any] = {"providers": (), "window_seconds": 300.0, "now": fleet.now, "now_wall": 1e9}
    pauses, told = in_pieces(fleet.state.status_steps(**wanted))

    assert pauses == 100 // TARGETS_AT_ONCE
    assert told == fleet.state.status(**wanted)
