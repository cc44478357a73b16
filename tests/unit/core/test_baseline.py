"""A target held against its own past: what counts, what does not, when it is over, and what becomes of its score."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import SetFleet, decided, spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.baseline import Baseline
from turnout_server.core.charts import CONFIRMED_SECONDS, FACTOR_FLOOR, Measure, Turn
from turnout_server.core.events import EventName
from turnout_server.core.kept import KeptAverage, Since
from turnout_server.core.model import FailureKind, Usage

FIRST = Measure.FIRST_TOKEN


class Life:
    """Calls of one target, a second apart unless said otherwise."""

    def __init__(self) -> None:
        self.baseline = Baseline()
        self.now = 0.0
        self.turns: list[Turn] = []

    def answers(self, count: int, ratio: float, *, kind: int = 0, gap: float = 1.0) -> None:
        for _ in range(count):
            self.now += gap
            self._take(self.baseline.ended(ok=True, now=self.now))
            self._take(self.baseline.answered(FIRST, ratio, kind, self.now))

    def fails(self, count: int, *, gap: float = 1.0) -> None:
        for _ in range(count):
            self.now += gap
            self._take(self.baseline.ended(ok=False, now=self.now))

    def _take(self, turn: Turn | None) -> None:
        if turn is not None:
            self.turns.append(turn)

    @property
    def drifts(self) -> list[tuple[Measure, bool]]:
        return [(turn.measure, turn.drifting) for turn in self.turns]

    @property
    def factor(self) -> float:
        return self.baseline.factor(self.now)


def used_to(ratio: float = 1.0, count: int = 600) -> Life:
    life = Life()
    life.answers(count, ratio)
    return life


def test_target_that_takes_twice_as_long_loses_score_and_gets_it_back() -> None:
    life = used_to()
    before = life.factor
    life.answers(300, 2.0)
    worse, factor = life.drifts, life.factor
    life.answers(600, 1.0)

    assert before == 1.0
    assert worse == [(FIRST, True)]
    assert factor == pytest.approx(0.55, abs=0.1)
    assert life.drifts == [(FIRST, True), (FIRST, False)]
    assert life.factor == 1.0
    assert not life.baseline.drifting


def test_target_is_held_against_its_own_past_and_not_against_a_number() -> None:
    quick, slow = used_to(0.05), used_to(20.0)
    quick.answers(300, 0.1)
    slow.answers(300, 20.0)

    assert quick.drifts == [(FIRST, True)]
    assert slow.drifts == []


def test_what_is_a_little_slower_is_weather() -> None:
    life = used_to()
    life.answers(3000, 1.25)

    assert life.drifts == []


def test_target_that_always_has_good_and_bad_minutes_does_not_drift_by_them() -> None:
    uneven = Life()
    for _ in range(60):
        uneven.answers(300, 0.6)
        uneven.answers(300, 1.7)
    uneven.turns.clear()
    for _ in range(12):
        uneven.answers(300, 0.6)
        uneven.answers(300, 1.7)
    even = used_to(0.9, count=7200)
    even.answers(300, 1.7)
    later = uneven.drifts
    uneven.answers(300, 4.5)

    assert later == []
    assert even.drifts == [(FIRST, True)]
    assert uneven.drifts == [(FIRST, True)]


def test_one_call_that_hangs_is_one_bad_call() -> None:
    life = used_to()
    for _ in range(50):
        life.answers(1, 100.0)
        life.answers(20, 1.0)

    assert life.drifts == []


def test_thousand_calls_that_meet_one_bad_second_are_one() -> None:
    life = used_to()
    life.answers(1000, 10.0, gap=0.001)
    life.answers(10, 1.0)

    assert life.drifts == []


def test_target_that_is_not_known_yet_does_not_drift() -> None:
    life = used_to(count=20)
    life.answers(9, 50.0)

    assert life.drifts == []


def test_another_mix_of_prompts_is_no_drift() -> None:
    life = Life()
    for _ in range(300):
        life.answers(1, 1.0, kind=0)
        life.answers(1, 3.0, kind=1)
    life.answers(600, 3.0, kind=1)

    assert life.drifts == []


def test_drift_that_nobody_confirms_is_over() -> None:
    life = used_to()
    life.answers(300, 3.0)
    drifting = life.factor
    life.now += CONFIRMED_SECONDS + 1.0
    over = life.baseline.look(life.now)

    assert drifting < 0.6
    assert life.factor == 1.0
    assert [(turn.measure, turn.drifting) for turn in over] == [(FIRST, False)]
    assert life.baseline.look(life.now) == []


def test_target_that_begins_to_fail_is_seen_before_its_breaker_would_be() -> None:
    life = used_to(count=1000)
    rng = random.Random(1)
    for _ in range(300):
        if rng.random() < 0.2:
            life.fails(1)
        else:
            life.answers(1, 1.0)

    assert life.drifts == [(Measure.FAILURES, True)]
    assert FACTOR_FLOOR <= life.factor < 0.9
    turn = life.turns[0]
    assert turn.usual < 0.01
    assert turn.present > 0.05

    life.answers(900, 1.0)

    assert life.drifts == [(Measure.FAILURES, True), (Measure.FAILURES, False)]


def test_target_that_always_failed_a_little_does_not_drift_by_it() -> None:
    life = Life()
    for number in range(6000):
        if number % 25 == 0:
            life.fails(1)
        else:
            life.answers(1, 1.0)

    assert life.drifts == []


def test_reset_forgets_the_drift_and_keeps_the_past() -> None:
    life = used_to()
    life.answers(300, 3.0)
    life.baseline.forget_drift()
    at_once = life.factor
    life.answers(300, 3.0)

    assert at_once == 1.0
    assert life.drifts == [(FIRST, True), (FIRST, True)]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.sampled_from([0.0, -1.0, math.inf, 1e300, 1e-300])),
            st.floats(0.0, 1e5),
            st.booleans(),
            st.integers(0, 3),
        ),
        max_size=120,
    )
)
def test_whatever_comes_the_factor_is_a_share_and_turns_take_turns(
    calls: list[tuple[float, float, bool, int]],
) -> None:
    life = Life()
    life.answers(40, 1.0)
    for ratio, gap, ok, kind in calls:
        life.now += gap
        life._take(life.baseline.ended(ok=ok, now=life.now))
        life._take(life.baseline.answered(FIRST, ratio, kind, life.now))

        assert FACTOR_FLOOR <= life.factor <= 1.0
        assert life.factor == 1.0 or life.baseline.drifting
    for measure in Measure:
        kinds = [turn.drifting for turn in life.turns if turn.measure is measure]

        assert kinds == [place % 2 == 0 for place in range(len(kinds))]


def streamed(fleet: LiveFleet, name: str, count: int, first_seconds: float) -> None:
    for _ in range(count):
        fleet.now += 1.0
        fleet.ended(
            name,
            streamed=True,
            time_to_first_token_seconds=first_seconds,
            latency_seconds=first_seconds + 1.0,
            usage=Usage(input_tokens=100, output_tokens=100),
        )


def test_drift_is_told_and_is_a_factor_of_the_decision() -> None:
    fleet = LiveFleet("a/m", "b/m")
    streamed(fleet, "a/m", 200, 1.0)
    streamed(fleet, "a/m", 200, 2.2)
    target = fleet.at("a/m")
    (event,) = [event for event in fleet.events if event.name is EventName.DRIFTING]

    assert str(event.target) == "a/m"
    assert event.fields["measure"] == "time_to_first_token"
    assert event.fields["times_usual"] > 1.2  # type: ignore[operator]  # a number
    assert target.drift(fleet.now) < 0.8
    assert target.breaker.closed
    assert fleet.state.vitals(fleet.now).each[0].special

    fleet.now += CONFIRMED_SECONDS + 1.0
    told = fleet.state.drift_over(target, fleet.now)

    assert [event.name for event in told] == [EventName.STEADY]
    assert target.drift(fleet.now) == 1.0


def test_trials_of_our_own_and_callers_faults_say_nothing_of_a_past() -> None:
    fleet = LiveFleet("a/m")
    streamed(fleet, "a/m", 300, 1.0)
    for _ in range(300):
        fleet.now += 1.0
        fleet.ended("a/m", FailureKind.INVALID_REQUEST)
        fleet.ended("a/m", off_path=True, streamed=True, time_to_first_token_seconds=9.0, latency_seconds=9.0)

    assert EventName.DRIFTING not in fleet.names()


def test_candidate_that_drifts_shows_it_and_its_score_is_multiplied() -> None:
    fleet = SetFleet(spec("a/m"), spec("b/m"))
    even = {str(each.target): each for each in decided(fleet).candidates}
    fleet.targets[0].drift_factor = 0.6
    decision = decided(fleet)
    drifting = {str(each.target): each for each in decision.candidates}

    assert drifting["a/m"].factors["drift"] == 0.6
    assert drifting["a/m"].score == pytest.approx(0.6 * even["a/m"].score)
    assert "drift" not in drifting["b/m"].factors
    assert drifting["b/m"].score == even["b/m"].score
    assert str(decision.candidates[0].target) == "b/m"
    assert decision.reusable


def test_what_is_usual_outlives_a_restart_and_the_drift_does_not() -> None:
    before = used_to(0.2, count=1000)
    before.answers(300, 0.6)
    kept = before.baseline.keep_usual(before.now), before.baseline.keep_failing(before.now)
    life = Life()
    life.now = 50.0
    life.baseline.resume(*kept, Since(now=50.0, gap_seconds=10.0))
    at_once = life.factor, life.baseline.drifting
    life.answers(300, 0.6)

    assert at_once == (1.0, False)
    assert life.drifts == [(FIRST, True)]


def test_how_uneven_a_target_is_outlives_a_restart() -> None:
    uneven = Life()
    for _ in range(40):
        uneven.answers(300, 0.6)
        uneven.answers(300, 1.7)
    baseline, since = uneven.baseline, Since(now=0.0, gap_seconds=10.0)
    kept = baseline.keep_usual(uneven.now), baseline.keep_failing(uneven.now)
    with_it, without = Life(), Life()
    with_it.baseline.resume(*kept, since, baseline.keep_uneven())
    without.baseline.resume(*kept, since)
    for life in (with_it, without):
        life.answers(300, 2.0)

    assert with_it.drifts == []
    assert without.drifts == [(FIRST, True)]
    assert baseline.keep_uneven() != without.baseline.keep_uneven()


def test_clusters_of_failures_that_come_again_and_again_are_told_ever_less() -> None:
    life = used_to(count=1000)
    told = []
    for _ in range(12):
        life.turns.clear()
        for _ in range(60):
            life.answers(3, 1.0)
            life.fails(1)
        life.answers(5400, 1.0)
        told.append((Measure.FAILURES, True) in life.drifts)
    kept = life.baseline.keep_uneven()
    again = Life()
    again.baseline.resume((), None, Since(now=0.0, gap_seconds=0.0), kept)

    assert told[0]
    assert not any(told[-6:])
    assert again.baseline.keep_uneven() == kept


@pytest.mark.parametrize("nonsense", [-1.0, 1e300, math.nan, math.inf])
def test_unevenness_of_nonsense_is_taken_as_far_as_it_makes_sense(nonsense: float) -> None:
    life = Life()
    rows = [(measure.value, nonsense, nonsense, nonsense, nonsense) for measure in Measure]
    life.baseline.resume((), None, Since(now=0.0, gap_seconds=0.0), [("no_such_measure", 1.0, 1.0, 1.0, 1.0), *rows])
    life.answers(300, 1.0)
    life.fails(5)

    assert 0.5 <= life.factor <= 1.0
    assert all(math.isfinite(number) and number >= 0.0 for row in life.baseline.keep_uneven() for number in row[1:])


def test_snapshot_of_nonsense_is_taken_as_far_as_it_makes_sense() -> None:
    life = Life()
    rows = (("no_such_measure", 0, 0.0, 9, 1.0), (FIRST.value, -1, 0.0, 9, 1.0), (FIRST.value, 1, 1e9, 10**9, 1.0))
    life.baseline.resume(rows, KeptAverage(9.0, -5.0, 1.0), Since(now=0.0, gap_seconds=0.0))
    life.answers(100, 1.0, kind=1)

    assert 0.5 <= life.factor <= 1.0
    assert [row[:2] for row in life.baseline.keep_usual(life.now)] == [(FIRST.value, 1)]


@pytest.mark.parametrize("gap", [1.0, 13.0, 15.0, 30.0])
def test_target_that_is_seldom_called_is_known_by_its_outcomes_as_well(gap: float) -> None:
    life = Life()
    life.answers(400, 1.0, gap=gap)
    life.fails(30, gap=gap)

    assert life.drifts == [(Measure.FAILURES, True)]


def test_target_that_has_failed_for_hours_does_not_drift_by_answering_again() -> None:
    life = Life()
    life.fails(4000)
    life.answers(600, 1.0)

    assert life.drifts == []
    assert life.factor == 1.0
