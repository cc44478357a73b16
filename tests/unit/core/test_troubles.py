"""What is told of problems: the first at once, then by counts; and what is over again."""

from __future__ import annotations

import dataclasses
import itertools
import random

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.execution.scripted import spec
from turnout_server.core.alarms import SAMPLES_MINIMUM, WINDOW_SECONDS
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import CALLER_FAILURES, FailureKind, Outcome, Target
from turnout_server.core.repeats import EVERY_SECONDS, KEYS_MAXIMUM, Repeats
from turnout_server.core.settings import AlertSettings, Settings
from turnout_server.core.state import FleetState
from turnout_server.core.troubles import Troubles

A, B = Target("a", "m"), Target("b", "m")
NOW = 1000.0


def outcome(failure: FailureKind | None = FailureKind.OVERLOADED, **changes: object) -> Outcome:
    made = Outcome(decision_id="d-1", attempt_id="t-1", target=A, failure=failure, http_status=529)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def suspect(at: float, target: Target = A) -> Event:
    return Event(name=EventName.SUSPECT, at=at, target=target)


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 3)), max_size=200))
@example([(1.7108812975696468, 0), (1.7108812975696468, 0), (10.710881297569646, 0)])
def test_every_happening_is_counted_once_and_nothing_is_told_too_often(steps: list[tuple[float, int]]) -> None:
    repeats, now = Repeats(), NOW
    told: list[tuple[float, Event]] = []
    for wait, key in steps:
        now += wait
        told += [(now, event) for event in repeats.due(now)]
        told += [(now, event) for event in repeats.happened(key, suspect(now, Target("p", str(key))))]
    now += EVERY_SECONDS
    told += [(now, event) for event in repeats.due(now)]

    assert sum(int(event.fields["count"]) for _, event in told) == len(steps)
    for key in range(4):
        at = [when for when, event in told if event.target == Target("p", str(key))]
        assert all(later >= before + EVERY_SECONDS for before, later in itertools.pairwise(at))


def test_there_is_nothing_to_look_at_where_nothing_repeats() -> None:
    repeats = Repeats()
    repeats.happened("a", suspect(NOW))
    assert repeats.happened("a", suspect(NOW + 1)) == []
    assert repeats.happened("a", suspect(NOW + 2 * EVERY_SECONDS)) == []

    assert repeats.due(NOW + EVERY_SECONDS - 0.1) == []
    assert [event.fields["count"] for event in repeats.due(NOW + EVERY_SECONDS)] == [2]
    assert repeats.due(NOW + 2 * EVERY_SECONDS) == []
    assert repeats.due_at == float("inf")


def test_what_is_followed_is_bounded_and_nothing_is_lost_for_it() -> None:
    repeats = Repeats()
    told = [event for _ in range(2) for event in repeats.happened("first", suspect(NOW))]
    for number in range(KEYS_MAXIMUM + 100):
        told += repeats.happened(number, suspect(NOW, B))

    assert sum(int(event.fields["count"]) for event in told if event.target == A) == 2


def test_a_failure_says_what_failed_where_and_for_which_decision() -> None:
    [event] = Troubles(AlertSettings()).failed(outcome(), NOW)

    assert (event.name, event.target, event.provider) == (EventName.FAILURE, A, "a")
    assert event.fields == {"failure": "OVERLOADED", "decision_id": "d-1", "http_status": 529, "count": 1}


def test_callers_own_faults_and_our_own_probes_are_no_failures_of_targets() -> None:
    troubles = Troubles(AlertSettings())

    assert [troubles.failed(outcome(failure), NOW) for failure in CALLER_FAILURES] == [[]] * 4
    assert troubles.failed(outcome(off_path=True), NOW) == []
    assert troubles.failed(outcome(None), NOW) == []


def test_a_switch_says_from_where_to_where_and_why() -> None:
    [event] = Troubles(AlertSettings()).switched(A, B, FailureKind.TIMEOUT, "d-1", NOW)

    assert (event.name, event.target) == (EventName.SWITCH, A)
    assert event.fields == {"to": "b/m", "failure": "TIMEOUT", "decision_id": "d-1", "count": 1}


def test_an_outage_is_over_when_the_breaker_closes_and_lasts_from_its_first_opening() -> None:
    troubles = Troubles(AlertSettings())

    def breaker(name: EventName, at: float) -> Event:
        return Event(name=name, at=at, target=A, provider="a")

    assert troubles.followed_by(breaker(EventName.BREAKER_OPENED, NOW)) == []
    assert troubles.followed_by(breaker(EventName.BREAKER_OPENED, NOW + 5.0)) == []
    assert troubles.followed_by(breaker(EventName.BREAKER_HALF_OPEN, NOW + 9.0)) == []
    [recovered] = troubles.followed_by(breaker(EventName.BREAKER_CLOSED, NOW + 12.5))

    assert (recovered.name, recovered.target) == (EventName.RECOVERED, A)
    assert recovered.fields == {"from": "breaker.opened", "after_seconds": 12.5}


class Watched:
    """One target whose calls end as told, and what is told of it."""

    def __init__(self, limits: AlertSettings) -> None:
        self.state = FleetState(Fleet((spec("a/m"),)), Settings(), now=NOW, rng=random.Random(1))
        self.troubles = Troubles(limits)
        self.now = NOW
        self.number = 0

    def ended(self, count: int, failure: FailureKind | None = None, seconds: float = 0.1) -> None:
        for _ in range(count):
            self.number += 1
            self.state.targets[0].statistics.record(
                Outcome(
                    decision_id="d", attempt_id=str(self.number), target=A, failure=failure, latency_seconds=seconds
                ),
                self.now,
            )

    def look(self) -> list[tuple[str, dict[str, object]]]:
        found = self.troubles.alarms.look(self.state.targets[0], self.now)
        return [(event.name.value, dict(event.fields)) for event in found]


def test_a_high_error_rate_is_told_once_and_when_it_is_over() -> None:
    watched = Watched(AlertSettings(high_error_rate=0.25))
    watched.ended(8)
    watched.ended(4, FailureKind.SERVER_ERROR)
    first, again = watched.look(), watched.look()
    watched.now += 3 * WINDOW_SECONDS
    watched.ended(20)
    after = watched.look()

    assert first == [("high_error_rate", {"error_rate": 0.3333, "limit": 0.25, "call_count": 12})]
    assert again == []
    assert [name for name, _ in after] == ["recovered"]
    assert (after[0][1]["from"], after[0][1]["after_seconds"]) == ("high_error_rate", 180.0)


def test_callers_own_mistakes_and_a_few_calls_raise_no_alarm() -> None:
    watched = Watched(AlertSettings(high_error_rate=0.05))
    watched.ended(SAMPLES_MINIMUM - 1, FailureKind.SERVER_ERROR)
    few = watched.look()
    other = Watched(AlertSettings(high_error_rate=0.05))
    other.ended(100, FailureKind.INVALID_REQUEST)
    other.ended(100, FailureKind.CANCELLED)
    other.ended(SAMPLES_MINIMUM)

    assert few == []
    assert other.look() == []


def test_a_high_latency_is_that_of_half_of_the_answers() -> None:
    watched = Watched(AlertSettings(high_latency_seconds=2.0))
    watched.ended(10, seconds=0.5)
    watched.ended(9, seconds=60.0)
    quiet = watched.look()
    watched.ended(10, seconds=60.0)
    [(name, fields)] = watched.look()

    assert quiet == []
    assert (name, fields["limit_seconds"], fields["call_count"]) == ("high_latency", 2.0, 29)


def test_a_target_that_nobody_calls_any_more_is_forgotten_quietly_and_told_anew() -> None:
    watched = Watched(AlertSettings(high_error_rate=0.05))
    watched.ended(20, FailureKind.SERVER_ERROR)
    assert [name for name, _ in watched.look()] == ["high_error_rate"]
    watched.now += WINDOW_SECONDS + 1.0
    assert watched.look() == []
    watched.now += 2 * WINDOW_SECONDS
    watched.ended(20, FailureKind.SERVER_ERROR)

    assert [name for name, _ in watched.look()] == ["high_error_rate"]
