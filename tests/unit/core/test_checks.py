"""Which endpoints are worth a check, when it is whose turn, what an answer means, and what checks may cost."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.checks import Allowance, Means, Phases, Question, Taken, call_cost_nano_usd
from turnout_server.core.events import EventName
from turnout_server.core.fleet import Price
from turnout_server.core.model import BreakerState, FailureKind, Target

CHEAP = Price(input_per_million=1_000_000, output_per_million=1_000_000)
DEAR = Price(input_per_million=9_000_000, output_per_million=9_000_000)
DAY = 86_400.0


def asked(fleet: LiveFleet) -> list[tuple[str, Means, str]]:
    """What is worth asking now: of which provider, how, and of which target."""
    specs = fleet.state.fleet.specs
    return [(each.provider, each.means, specs[each.place].name) for each in fleet.state.questions(fleet.now)]


def test_endpoint_where_all_is_well_is_asked_nothing() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.ended("a/m")
    fleet.fail("b/m", 2)

    assert asked(fleet) == []


def test_endpoint_that_could_not_be_connected_to_is_asked_for_its_models_while_it_is_open() -> None:
    fleet = LiveFleet("a/m", "a/n", "b/m")
    fleet.fail("a/m", kind=FailureKind.CONNECTION)

    assert asked(fleet) == [("a", Means.LIST, "a/m")]


def test_target_that_failed_otherwise_is_left_alone_until_its_open_time_is_over_and_called_then() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("a/m")
    while_open = asked(fleet)
    fleet.now = fleet.at("a/m").breaker.reopen_at

    assert while_open == []
    assert asked(fleet) == [("a", Means.CALL, "a/m")]


def test_trial_that_somebody_has_is_not_called_again() -> None:
    fleet = LiveFleet("a/m")
    fleet.opened("a/m")
    fleet.lease("a/m")

    assert asked(fleet) == []


def test_of_several_half_open_targets_the_one_longest_not_checked_is_called_and_of_those_the_cheapest() -> None:
    fleet = LiveFleet(
        replace(spec("a/dear"), price=DEAR), replace(spec("a/cheap"), price=CHEAP), replace(spec("a/free"), price=None)
    )
    for name in ("a/dear", "a/cheap", "a/free"):
        fleet.state.targets[0].endpoint.reset()
        fleet.fail(name)
    fleet.state.targets[0].endpoint.reset()
    fleet.now += 100.0
    order = []
    for _ in range(3):
        ((_, _, name),) = asked(fleet)
        order.append(name)
        fleet.now += 1.0
        fleet.state.check_ended((fleet.at(name).index,), fleet.now)

    assert order == ["a/cheap", "a/dear", "a/cheap"]


def test_target_whose_calls_wait_is_asked_for_its_models() -> None:
    fleet = LiveFleet("a/m", "b/m")
    for _ in range(5):
        fleet.started("a/m")
    fleet.now += 10.0

    assert asked(fleet) == [("a", Means.LIST, "a/m")]


def test_drained_target_is_asked_nothing() -> None:
    fleet = LiveFleet("a/m", "a/n")
    fleet.opened("a/m")
    fleet.state.set_drained(0, drained=True)

    assert asked(fleet) == []


def test_list_of_models_makes_half_open_what_could_not_be_connected_to_and_closes_nothing() -> None:
    fleet = LiveFleet("a/m", "a/n")
    fleet.fail("a/m", kind=FailureKind.CONNECTION)
    target = fleet.at("a/m")
    before = (target.availability.value(fleet.now), target.statistics.window(300.0, fleet.now).total)
    fleet.state.listed("a", "", fleet.now, ok=True)
    told = fleet.expire()

    assert target.breaker.state(fleet.now) is BreakerState.HALF_OPEN
    assert target.endpoint.state(fleet.now) is BreakerState.HALF_OPEN
    assert (target.availability.value(fleet.now), target.statistics.window(300.0, fleet.now).total) == before
    assert told == [EventName.ENDPOINT_HALF_OPEN, EventName.BREAKER_HALF_OPEN]
    assert target.statistics.last_check_at == fleet.now

    fleet.tried("a/m")
    fleet.tried("a/m")

    assert target.breaker.closed
    assert target.endpoint.closed


def test_list_of_models_says_nothing_of_a_target_that_failed_otherwise() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m")
    reopen_at = fleet.at("a/m").breaker.reopen_at
    fleet.state.listed("a", "", fleet.now, ok=True)

    assert fleet.at("a/m").breaker.reopen_at == reopen_at
    assert fleet.at("a/m").breaker.state(fleet.now) is BreakerState.OPEN


def test_list_that_failed_changes_no_breaker() -> None:
    fleet = LiveFleet("a/m")
    fleet.fail("a/m", kind=FailureKind.CONNECTION)
    reopen_at = fleet.at("a/m").breaker.reopen_at
    fleet.state.listed("a", "", fleet.now, ok=False)

    assert fleet.at("a/m").breaker.reopen_at == reopen_at
    assert fleet.at("a/m").statistics.last_check_at == fleet.now


def test_trial_that_fails_after_a_list_opens_again_for_twice_as_long() -> None:
    fleet = LiveFleet("a/m", "b/m")
    fleet.fail("a/m", kind=FailureKind.CONNECTION)
    first_seconds = fleet.at("a/m").breaker.reopen_at - fleet.now
    fleet.state.listed("a", "", fleet.now, ok=True)
    fleet.tried("a/m", FailureKind.SERVER_ERROR)

    assert fleet.at("a/m").breaker.reopen_at - fleet.now == 2 * first_seconds


def turns(phases: Phases, *, start: float, seconds: int, interval: float = 30.0, name: str = "a") -> list[float]:
    """The seconds at which it is an endpoint's turn, looked at once a second."""
    times = [start + second for second in range(seconds + 1)]
    return [
        now
        for since, now in itertools.pairwise(times)
        if phases.due((name, ""), since=since, now=now, interval_seconds=interval)
    ]


@given(st.integers(0, 2**32), st.floats(0.0, 1e6), st.integers(1, 300))
def test_each_interval_has_one_turn(seed: int, start: float, interval: int) -> None:
    found = turns(Phases(random.Random(seed)), start=start, seconds=3 * interval, interval=float(interval))

    assert 2 <= len(found) <= 4
    assert all(abs(later - sooner - interval) <= 1.0 for sooner, later in itertools.pairwise(found))


def test_endpoints_of_one_sidecar_have_turns_of_their_own() -> None:
    phases = Phases(random.Random(1))
    first = [turns(phases, start=0.0, seconds=30, name=name)[0] for name in "abcdefgh"]

    assert len(set(first)) >= 6


def test_phase_of_an_endpoint_that_is_well_again_is_forgotten() -> None:
    phases = Phases(random.Random(1))
    phases.due(("a", ""), since=0.0, now=1.0, interval_seconds=30.0)
    phases.due(("b", ""), since=0.0, now=1.0, interval_seconds=30.0)
    phases.keep([("b", "")])

    assert list(phases._drawn) == [("b", "")]


def test_call_of_a_check_costs_what_its_tokens_cost() -> None:
    assert call_cost_nano_usd(replace(spec("a/m"), price=CHEAP)) == 65
    assert call_cost_nano_usd(replace(spec("a/m"), price=None)) is None


def test_day_has_room_for_its_allowance_and_the_next_day_for_as_much_again() -> None:
    allowance = Allowance()

    assert [allowance.take(40, 100, 5.0) for _ in range(3)] == [Taken(40, 5.0), Taken(40, 5.0), None]
    assert allowance.take(40, 100, DAY - 1.0) is None
    assert allowance.take(40, 100, DAY) == Taken(40, DAY)
    assert allowance.spent_nano_usd == 40


def test_price_that_is_not_known_has_no_room_and_none_at_all_is_for_what_is_free() -> None:
    allowance = Allowance()

    assert allowance.take(None, 100, 0.0) is None
    assert allowance.take(0, 0, 0.0) == Taken(0, 0.0)
    assert allowance.take(1, 0, 0.0) is None
    assert allowance.take(1, 0, 0.0, asked_for=True) == Taken(1, 0.0)


def test_what_a_call_did_cost_stands_in_the_place_of_what_was_taken_for_it() -> None:
    allowance = Allowance()
    allowance.take(60, 100, 0.0)
    allowance.settle(Taken(60, 0.0), 5, 1.0)
    allowance.take(60, 100, 2.0)
    allowance.settle(Taken(60, 2.0), None, 3.0)

    assert allowance.spent_nano_usd == 65


def test_call_that_ends_after_midnight_gives_nothing_back_to_the_new_day() -> None:
    allowance = Allowance()
    late = allowance.take(60, 100, DAY - 1.0)
    allowance.take(60, 100, DAY + 1.0)
    assert late is not None
    allowance.settle(late, 5, DAY + 2.0)

    assert allowance.spent_nano_usd == 60


@given(st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.integers(0, 50))), max_size=60))
def test_no_day_costs_more_than_its_allowance_where_calls_cost_no_more_than_was_taken(
    calls: list[tuple[int, int | None]],
) -> None:
    allowance = Allowance()
    for taken, cost in calls:
        held = allowance.take(taken, 100, 0.0)
        if held is not None:
            allowance.settle(held, None if cost is None else min(cost, taken), 0.0)

        assert 0 <= allowance.spent_nano_usd <= 100


def test_question_names_endpoint_and_target_apart() -> None:
    fleet = LiveFleet(
        replace(spec("a/m"), target=Target("a", "m", "eu"), name="a/m@eu"),
        replace(spec("a/m"), target=Target("a", "m", "us"), name="a/m@us"),
    )
    for second in range(3):
        fleet.now += second
        fleet.ended("a/m@us", FailureKind.CONNECTION)

    assert fleet.state.questions(fleet.now) == [Question("a", "us", Means.LIST, 1)]
