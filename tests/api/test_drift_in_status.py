"""A target that is worse than its own past is shown so by ProviderStatus and by `turnout status`, while it lasts."""

from __future__ import annotations

from tests.unit.commands.live.samples import provider, seen, target
from tests.unit.core.live_fleet import LiveFleet
from turnout.v1 import router_pb2 as pb
from turnout_server.api.provider_states import provider_states
from turnout_server.commands.live.target_detail import target_detail
from turnout_server.commands.status import target_row
from turnout_server.core.baseline import Baseline
from turnout_server.core.charts import CONFIRMED_SECONDS, Measure
from turnout_server.core.model import Usage
from turnout_server.core.status_report import finished

USUAL, SLOWER = 1.0, 2.2
HERE = pb.BREAKER_STATE_CLOSED


def answered(fleet: LiveFleet, first_seconds: float) -> None:
    """Has a target answer two hundred calls, a second apart."""
    for _ in range(200):
        fleet.now += 1.0
        fleet.ended(
            "a/m",
            streamed=True,
            time_to_first_token_seconds=first_seconds,
            latency_seconds=first_seconds + 1.0,
            usage=Usage(input_tokens=100, output_tokens=100),
        )


def shown(fleet: LiveFleet) -> dict[str, pb.TargetState]:
    """The targets as callers are told of them."""
    steps = fleet.state.status_steps(providers=(), window_seconds=300.0, now=fleet.now, now_wall=1_800_000_000.0)
    providers = finished(provider_states(finished(steps)))
    return {each.target.provider: each for provider in providers for each in provider.targets}


def test_target_that_drifts_is_shown_with_what_it_costs_it_and_in_what_it_is_worse() -> None:
    fleet = LiveFleet("a/m", "b/m")
    answered(fleet, USUAL)
    before = shown(fleet)["a"]
    answered(fleet, SLOWER)
    during = shown(fleet)

    assert not before.HasField("drift")
    assert 0.5 <= during["a"].drift < 0.8
    assert during["a"].drift == fleet.at("a/m").drift(fleet.now)
    assert list(during["a"].drifting_measures) == ["time_to_first_token"]
    assert not during["b"].HasField("drift")
    assert f"a/m drifting (score x {during['a'].drift:.2f})" == target_row(during["a"], HERE)[0]


def test_drift_that_nobody_confirms_is_shown_no_more() -> None:
    fleet = LiveFleet("a/m")
    answered(fleet, USUAL)
    answered(fleet, SLOWER)
    fleet.now += CONFIRMED_SECONDS + 1.0
    after = shown(fleet)["a"]

    assert not after.HasField("drift")
    assert not after.drifting_measures
    assert "a/m" == target_row(after, HERE)[0]


def test_all_that_is_known_of_a_target_says_in_what_it_is_worse() -> None:
    state = target("north/m", drift=0.6, drifting_measures=["latency", "error_rate"])
    (line,) = [each for each in target_detail(seen(provider(state)), "north/m") if each.startswith("now")]

    assert line.endswith("drifting: worse than usual in latency, error_rate, score in decisions x 0.60")


def test_failures_beyond_the_usual_are_what_it_is_worse_in() -> None:
    baseline, now = Baseline(), 0.0
    for number in range(700):
        now += 1.0
        baseline.ended(ok=number < 600 or number % 2 == 0, now=now)

    assert (Measure.FAILURES,) == baseline.worse(now)
    assert () == baseline.worse(now + CONFIRMED_SECONDS + 1.0)
