"""What is kept over a restart comes back as it would be by now had the process never ended, as far as it still fits."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import NOW_WALL, PERIOD_SECONDS, EvenCalendar, budget, payer
from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import EXACT, START, LiveFleet
from turnout_server.core.affinity import affinity_key
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec
from turnout_server.core.budget_book import KEYS_MAXIMUM, OTHER
from turnout_server.core.budget_ledger import RESTING_MAXIMUM
from turnout_server.core.chronicle import Heading
from turnout_server.core.events import EventName
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.keeping import Aged, Memory, Resumed
from turnout_server.core.kept import (
    GAP_MAXIMUM_SECONDS,
    ROWS_MAXIMUM,
    SUMS_ROWS_MAXIMUM,
    BudgetLine,
    CredentialLine,
    Line,
    Since,
)
from turnout_server.core.model import BreakerState, Caller, FailureKind, RateLimitReading, Target, Usage
from turnout_server.core.spending import Spending
from turnout_server.core.summaries import StatisticsQuery, summarise

KIND = FailureKind


def keyed(name: str, *labels: str, **facts: Any) -> TargetSpec:
    return spec(name, credentials=tuple(CredentialSpec(label=label) for label in labels), **facts)


class Kept(LiveFleet):
    """A live fleet with budgets, whose state is kept."""

    def __init__(self, *specs: str | TargetSpec, budgets: tuple[BudgetSpec, ...] = ()) -> None:
        super().__init__(*specs, settings=EXACT)
        self.specs = specs
        self.budgets = budgets
        self.spending = Spending(budgets, self.state, self.wall)
        self.memory = Memory(self.state, self.spending)

    @property
    def wall(self) -> float:
        return NOW_WALL + self.now - START

    def lines(self) -> list[tuple[Line, float]]:
        return [(line, self.wall) for line in self.memory.kept(self.now, self.wall)]

    def restarted(
        self,
        *specs: str | TargetSpec,
        after: float = 1.0,
        clock: float = 0.0,
        wall_step: float = 0.0,
        lines: list[tuple[Line, float]] | None = None,
        budgets: tuple[BudgetSpec, ...] | None = None,
    ) -> Kept:
        """Another process, so many seconds later, whose clock is `clock` ahead and whose wall clock was put forward."""
        other = Kept(*(specs or self.specs), budgets=self.budgets if budgets is None else budgets)
        other.now = self.now + after + clock
        other.state._started_at = other.state.past.chronicle._known_from = other.now
        now_wall = self.wall + after + wall_step
        kept = self.lines() if lines is None else lines
        aged = [Aged(line, Since.made(at, now=other.now, now_wall=now_wall)) for line, at in kept]
        other.spending = Spending(other.budgets, other.state, now_wall)
        other.memory = Memory(other.state, other.spending)
        other.resumed = other.memory.resume(aged, now=other.now, now_wall=now_wall)
        self.now += after
        return other

    resumed: Resumed


# Breakers.


def test_open_breaker_comes_back_open_for_the_rest_of_its_time() -> None:
    fleet = Kept("a/m", "b/m")
    fleet.fail("a/m")
    other = fleet.restarted(after=2.0, clock=-900.0)

    assert other.at("a/m").breaker.state(other.now) is BreakerState.OPEN
    assert other.at("a/m").breaker.reopen_at - other.now == pytest.approx(fleet.at("a/m").breaker.reopen_at - fleet.now)
    assert other.at("a/m").breaker.opened_by is KIND.SERVER_ERROR
    assert other.at("b/m").breaker.closed


def test_opening_that_is_over_comes_back_half_open_with_its_trial_free() -> None:
    fleet = Kept("a/m")
    fleet.fail("a/m")
    fleet.now = fleet.at("a/m").breaker.reopen_at
    fleet.lease("a/m")
    other = fleet.restarted(after=60.0)

    assert other.at("a/m").breaker.state(other.now) is BreakerState.HALF_OPEN
    assert other.lease("a/m") is not None
    assert EventName.BREAKER_HALF_OPEN in other.expire()


def test_trial_that_succeeds_after_a_restart_closes_the_breaker_as_before() -> None:
    fleet = Kept("a/m")
    fleet.opened("a/m")
    fleet.tried("a/m")
    other = fleet.restarted(after=1.0)
    other.tried("a/m")

    assert other.at("a/m").breaker.closed


def test_next_opening_is_longer_than_the_one_before_the_restart() -> None:
    fleet = Kept("a/m")
    fleet.opened("a/m")
    other = fleet.restarted(after=1.0)
    other.tried("a/m", KIND.SERVER_ERROR)

    assert other.at("a/m").breaker.reopen_at - other.now == pytest.approx(10.0)


def test_failures_before_and_after_a_restart_are_one_row() -> None:
    fleet = Kept("a/m")
    fleet.fail("a/m", count=2)
    other = fleet.restarted(after=1.0)
    other.fail("a/m", count=1)

    assert other.at("a/m").breaker.state(other.now) is BreakerState.OPEN


def test_open_endpoint_comes_back_for_all_its_models() -> None:
    fleet = Kept("a/m", "a/n")
    for _ in range(3):
        fleet.ended("a/m", KIND.CONNECTION)
    other = fleet.restarted(after=0.5)

    assert not other.at("a/n").endpoint.closed
    assert other.at("a/n").endpoint.state(other.now) is BreakerState.OPEN


def test_breaker_line_of_the_journal_takes_the_place_of_the_snapshots() -> None:
    fleet = Kept("a/m", "a/n", "b/m")
    lines = fleet.lines()
    fleet.fail("a/m")
    journal = [(line, fleet.wall) for line in fleet.memory.changed(fleet.events, fleet.now)]
    other = fleet.restarted(lines=lines + journal)

    assert other.at("a/m").breaker.state(other.now) is BreakerState.OPEN

    opened = lines + journal
    fleet.now = fleet.at("a/m").breaker.reopen_at
    fleet.tried("a/m")
    fleet.now += 1.0
    fleet.tried("a/m")
    journal = [(line, fleet.wall) for line in fleet.memory.changed(fleet.events, fleet.now)]
    other = fleet.restarted(lines=opened + journal)

    assert fleet.at("a/m").breaker.closed
    assert other.at("a/m").breaker.closed


def test_events_about_what_is_gone_or_not_kept_have_no_line() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.fail("a/m")
    fleet.reported("a/m", KIND.RATE_LIMITED, credential="somebody's", retry_after_seconds=60.0)
    named = [event for event in fleet.events if event.name in (EventName.BREAKER_OPENED, EventName.COOLING_DOWN)]
    gone = [replace(event, target=Target("z", "m")) for event in named if event.name is EventName.BREAKER_OPENED]

    assert len(named) == 2
    assert [type(line).__name__ for line in fleet.memory.changed(named, fleet.now)] == ["BreakerLine"]
    assert fleet.memory.changed(gone, fleet.now) == []


def journaled(fleet: Kept) -> list[tuple[Line, float]]:
    return [(line, fleet.wall) for line in fleet.memory.changed(fleet.events, fleet.now)]


def test_endpoint_and_key_are_kept_as_soon_as_something_happens_to_them() -> None:
    fleet = Kept(keyed("a/m", "main"), keyed("a/n", "main"), keyed("b/m", "main"))
    lines = fleet.lines()
    for _ in range(3):
        fleet.ended("a/m", KIND.CONNECTION)
    fleet.ended("b/m", KIND.QUOTA_EXHAUSTED, credential="main", retry_after_seconds=600.0)
    other = fleet.restarted(lines=lines + journaled(fleet))

    assert other.at("a/n").endpoint.state(other.now) is BreakerState.OPEN
    assert blocked_seconds(other, "b/m") == pytest.approx(599.0)


def test_key_that_works_again_is_not_held_back_by_what_the_snapshot_had() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.ended("a/m", KIND.QUOTA_EXHAUSTED, credential="main", retry_after_seconds=600.0)
    lines = fleet.lines()
    fleet.events += fleet.state.credential_changed("a", "main", fleet.now)
    other = fleet.restarted(lines=lines + journaled(fleet))

    assert blocked_seconds(fleet.restarted(lines=lines), "a/m") > 0.0
    assert blocked_seconds(other, "a/m") == 0.0


# Clocks.


def test_clock_that_was_put_back_holds_nothing_back_for_longer_than_it_was_to_be() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="main", retry_after_seconds=1800.0)
    fleet.fail("a/m")
    other = fleet.restarted(after=1.0, wall_step=-86_400.0)

    assert 0.0 < other.at("a/m").breaker.reopen_at - other.now <= 5.0
    assert blocked_seconds(other, "a/m") == pytest.approx(1800.0 - 3.0)


def test_clock_that_was_put_far_forward_ends_what_would_be_over_by_then() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.ended("a/m", latency_seconds=30.0, time_to_first_token_seconds=20.0, streamed=True, credential="main")
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="main", retry_after_seconds=1800.0)
    fleet.fail("a/m")
    other = fleet.restarted(wall_step=1e12)

    assert other.at("a/m").breaker.state(other.now) is BreakerState.HALF_OPEN
    assert blocked_seconds(other, "a/m") == 0.0
    assert other.at("a/m").availability.value(other.now) == pytest.approx(24.9 / 25)


def test_time_since_a_line_was_made_is_bounded() -> None:
    assert Since.made(100.0, now=5.0, now_wall=90.0).gap_seconds == 0.0
    assert Since.made(-1e300, now=5.0, now_wall=1e300).gap_seconds == GAP_MAXIMUM_SECONDS


# Credentials.


def blocked_seconds(fleet: LiveFleet, name: str) -> float:
    verdict = fleet.state.credentials.verdict(fleet.at(name).spec, tenant="", executing=True, now=fleet.now)
    return 0.0 if verdict.retry_at is None else verdict.retry_at - fleet.now


@pytest.mark.parametrize(
    ("kind", "facts", "seconds"),
    [
        (KIND.RATE_LIMITED, {"retry_after_seconds": 600.0}, 600.0),
        (KIND.QUOTA_EXHAUSTED, {"retry_after_seconds": 3000.0}, 3000.0),
        (KIND.PERMISSION_DENIED, {}, 600.0),
        (KIND.MODEL_NOT_FOUND, {}, 600.0),
    ],
)
def test_credential_that_was_refused_stays_out_for_the_rest_of_its_time(
    kind: FailureKind, facts: dict[str, Any], seconds: float
) -> None:
    fleet = Kept(keyed("a/m", "main"), keyed("a/n", "main"))
    fleet.ended("a/m", kind, credential="main", **facts)
    other = fleet.restarted(after=100.0)

    assert blocked_seconds(other, "a/m") == pytest.approx(seconds - 100.0)
    assert (blocked_seconds(other, "a/n") > 0.0) == (kind is KIND.QUOTA_EXHAUSTED)


def test_key_that_was_out_is_out_and_its_next_time_is_doubled() -> None:
    fleet = Kept(keyed("a/m", "main"))
    for _ in range(2):
        fleet.now += 6.0
        fleet.ended("a/m", KIND.AUTHENTICATION, credential="main")
    other = fleet.restarted(after=10.0)

    assert blocked_seconds(other, "a/m") == pytest.approx(50.0)

    other.now += 60.0
    other.ended("a/m", KIND.AUTHENTICATION, credential="main")

    assert blocked_seconds(other, "a/m") == pytest.approx(120.0)


def test_pause_is_an_hour_at_most_whatever_was_kept() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.ended("a/m", KIND.RATE_LIMITED, credential="main", retry_after_seconds=600.0)
    lines = fleet.lines()
    (line,) = (line for line, _ in lines if isinstance(line, CredentialLine))
    (outage,) = line.models
    cool_down = replace(outage.cool_down, wait=1e9, refused_wait=1e9)
    forged = replace(line, models=(replace(outage, cool_down=cool_down, out_wait=1e9),))
    other = fleet.restarted(lines=[*lines, (forged, fleet.wall)])

    assert blocked_seconds(other, "a/m") <= 3600.0


def test_what_callers_call_their_keys_is_not_kept() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.reported("a/m", KIND.RATE_LIMITED, credential="sk-by-mistake", retry_after_seconds=600.0)

    assert "sk-by-mistake" not in repr(fleet.lines())


def test_key_that_is_not_there_any_more_is_dropped() -> None:
    fleet = Kept(keyed("a/m", "main", "spare"))
    fleet.ended("a/m", KIND.QUOTA_EXHAUSTED, credential="main", retry_after_seconds=600.0)
    other = fleet.restarted(keyed("a/m", "spare"))

    assert not other.state.credentials._outages
    assert other.resumed.dropped == 1


# What is learned.


def lived(fleet: Kept, chance: random.Random, count: int = 25) -> None:
    """Has calls end this way and that over some minutes."""
    names = [str(each.target) for each in fleet.state.fleet.specs]
    kinds = (None, None, None, KIND.SERVER_ERROR, KIND.OVERLOADED, KIND.TIMEOUT, KIND.CONTENT_FILTERED)
    for _ in range(count):
        fleet.now += chance.uniform(0.0, 9.0)
        first = chance.uniform(0.1, 4.0)
        fleet.ended(
            chance.choice(names),
            chance.choice(kinds),
            latency_seconds=first + chance.uniform(0.1, 9.0),
            time_to_first_token_seconds=first,
            streamed=True,
            usage=Usage(input_tokens=chance.randrange(50, 400), output_tokens=chance.randrange(9, 900)),
            input_bytes=chance.randrange(300, 900),
            cost_nano_usd=chance.randrange(1000),
            task=chance.choice(("chat", "planning")),
            caller=Caller(tenant=chance.choice(("x", "y"))),
            sticky_key=chance.choice(("", "s1", "s2")),
        )


def numbers(fleet: LiveFleet) -> list[Any]:
    """All that decisions read of each target, as of now."""
    fleet.state.expire(fleet.now)
    return [
        [
            vital.first_seconds,
            vital.token_seconds,
            vital.availability,
            vital.health,
            vital.sample_count,
            vital.tokens_per_byte,
            vital.special,
            target.score(fleet.now),
            target.throttled(fleet.now),
            target.latency.p95_latency,
            target.latency.p95_time_to_first_token,
            target.breaker.state(fleet.now),
            target.breaker.consecutive_failures,
            target.breaker._recent.read(fleet.now),
            target.throttle.accepts(fleet.now),
        ]
        for vital, target in zip(fleet.state.vitals(fleet.now).each, fleet.state.targets, strict=True)
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        a == pytest.approx(b, rel=1e-6, abs=1e-9) if isinstance(a, float) else a == b
        for row, others in zip(one, other, strict=True)
        for a, b in zip(row, others, strict=True)
    )


@given(st.integers(0, 10**6), st.integers(0, 20), st.sampled_from([0.0, -960.0, 60.0 * 10**5]))
def test_restarted_fleet_knows_what_one_that_ran_on_would_know(seed: int, minutes: int, clock: float) -> None:
    fleet = Kept("a/m", "a/n", "b/m@eu")
    lived(fleet, random.Random(seed))
    # Within a second of its last call a target may be spared the next one: no restart is as quick.
    other = fleet.restarted(after=2.0 + 60.0 * minutes, clock=clock)

    assert same(numbers(fleet), numbers(other))
    assert other.state.lengths.expected("chat", "a", "m") == fleet.state.lengths.expected("chat", "a", "m")


@given(st.integers(0, 10**6), st.floats(0.0, 3000.0), st.floats(-900.0, 10**6))
def test_statistics_come_back_within_their_window(seed: int, after: float, clock: float) -> None:
    fleet = Kept("a/m", "b/m")
    lived(fleet, random.Random(seed))
    before = [target.statistics.window(7200.0, fleet.now) for target in fleet.state.targets]
    other = fleet.restarted(after=after, clock=clock)
    for counts, target in zip(before, other.state.targets, strict=True):
        found = target.statistics.window(7200.0, other.now)

        assert found.keep() == counts.keep() or after > 2700.0
        assert found.total <= counts.total


def test_averages_and_times_of_use_come_back() -> None:
    fleet = Kept("a/m")
    lived(fleet, random.Random(3))
    other = fleet.restarted(after=30.0, clock=500.0)
    before, after = fleet.at("a/m").statistics, other.at("a/m").statistics

    assert after.average_latency.value == before.average_latency.value
    assert after.last_request_at is not None
    assert before.last_request_at is not None
    assert other.now - after.last_request_at == pytest.approx(fleet.now - before.last_request_at)
    assert other.now - other.state.started_at == pytest.approx(fleet.now - fleet.state.started_at)


def test_learned_limit_of_calls_at_once_comes_back_and_is_forgotten_when_it_would_have_been() -> None:
    fleet = Kept("a/m")
    ids = [fleet.started("a/m") for _ in range(10)]
    fleet.now += 1.0
    for attempt_id in ids:
        fleet.ended("a/m", KIND.RATE_LIMITED, attempt_id=attempt_id, latency_seconds=1.0)
    limit = fleet.at("a/m").concurrency.limit(fleet.now)
    other = fleet.restarted(after=30.0)

    assert limit is not None
    assert other.at("a/m").concurrency.limit(other.now) == limit

    other.now += 31.0

    assert other.at("a/m").concurrency.limit(other.now) is None


def test_sums_over_a_day_come_back() -> None:
    fleet = Kept("a/m", "b/m")
    lived(fleet, random.Random(4), count=400)
    query = StatisticsQuery()
    before = summarise(fleet.state.past.chronicle, query, now=fleet.now, now_wall=fleet.wall)
    other = fleet.restarted(after=30.0, clock=7.0)
    after = summarise(other.state.past.chronicle, query, now=other.now, now_wall=fleet.wall)

    assert [group.sums.keep() for group in after.groups] == [group.sums.keep() for group in before.groups]
    assert [group.sums.attempts.failed_cost_nano_usd for group in after.groups] == [
        group.sums.attempts.failed_cost_nano_usd for group in before.groups
    ]
    assert after.until_wall - after.from_wall == pytest.approx(before.until_wall - before.from_wall + 30.0, abs=60.0)


def test_time_without_any_call_is_known_to_have_been_one() -> None:
    fleet = Kept("a/m")
    fleet.now += 3600.0
    other = fleet.restarted(after=5.0)

    assert other.state.past.chronicle.known_seconds(other.now) == pytest.approx(3605.0)


def test_sums_are_kept_in_lines_of_a_bounded_length() -> None:
    fleet = Kept("a/m")
    for place in range(4 * SUMS_ROWS_MAXIMUM):
        fleet.state.past.chronicle.decided(Heading(None, task=str(place)), score=0.0, confidence=0.0, now=fleet.now)
    other = fleet.restarted()
    lines = [line for line, _ in fleet.lines() if type(line).__name__ == "SumsLine"]

    assert max(len(line.rows) for line in lines) <= SUMS_ROWS_MAXIMUM  # type: ignore[union-attr]  # as it was picked
    assert len(other.state.past.chronicle._minutes[-1].sums) == 4 * SUMS_ROWS_MAXIMUM


# Affinity.


def test_conversation_stays_where_it_was_answered() -> None:
    fleet = Kept("a/m", "b/m")
    fleet.ended("b/m", sticky_key="thread", caller=Caller(tenant="x"))
    other = fleet.restarted("b/m", "c/m", after=3000.0)
    key = affinity_key(tenant="x", sticky_key="thread", session_id="")

    assert key is not None
    kept = other.state.affinity.kept(key, other.state.fleet, other.now)
    assert kept is not None
    assert kept.target_index == 0

    other.now += 601.0

    assert other.state.affinity.kept(key, other.state.fleet, other.now) is None


def test_thousands_of_conversations_come_back_the_one_longest_silent_is_forgotten_first() -> None:
    fleet = Kept("a/m", "b/m")
    for place in range(1200):
        fleet.now += 0.01
        fleet.ended("ab"[place % 2] + "/m", sticky_key=f"thread {place}")
    other = fleet.restarted()

    assert len(other.state.affinity) == 1200
    pieces = list(other.state.affinity.keep(other.now, ROWS_MAXIMUM))
    assert [entry[0].sticky_key for piece in pieces for entry in piece] == [f"thread {n}" for n in range(1200)]
    assert len(pieces) == 5


# What does not fit.


def test_target_that_is_gone_or_has_moved_is_dropped_and_the_others_come_back() -> None:
    fleet = Kept("a/m", "b/m", "c/m")
    for name in ("a/m", "b/m", "c/m"):
        fleet.fail(name)
    moved = spec("b/m", base_url="https://elsewhere.example")
    other = fleet.restarted(moved, "c/m", "d/m", after=0.0)

    assert [target.breaker.closed for target in other.state.targets] == [True, False, True]
    assert {str(name.provider) for name in other.resumed.targets} == {"c"}
    assert other.resumed.dropped >= 2


def test_target_that_speaks_another_wire_now_is_another_one() -> None:
    fleet = Kept("a/m")
    fleet.fail("a/m")
    other = fleet.restarted(spec("a/m", wire="anthropic"))

    assert other.at("a/m").breaker.closed


def test_nothing_kept_is_a_start_like_any_other() -> None:
    other = Kept("a/m").restarted(lines=[])

    assert other.resumed.targets == set()
    assert other.at("a/m").latency.sample_count == 0


def test_fleet_that_is_replaced_while_lines_are_taken_does_no_harm() -> None:
    whole = len(Kept("a/m", "b/m", "c/m@eu").lines())
    for taken in range(1, whole):
        fleet = Kept("a/m", "b/m", "c/m@eu")
        fleet.ended("c/m@eu", sticky_key="thread")
        lines = fleet.memory.kept(fleet.now, fleet.wall)
        first = [next(lines) for _ in range(taken)]
        fleet.state.adopt(Fleet((spec("c/m@eu"),)), EXACT)
        rest = list(lines)

        assert len(first) + len(rest) >= whole, taken


# Budgets.


USERS = budget("per-user", scope=BudgetScope.USER)
ALL = budget()


def settle(fleet: Kept, user: str, nano_usd: int) -> None:
    fleet.spending.ledger.report("", nano_usd, payer(user=user), fleet.wall, ok=True)


def spent_of(fleet: Kept, name: str = "per-user") -> dict[str, int]:
    return {each.key: each.spent for each in fleet.spending.budget(name, NOW_WALL).accounts if each.spent}


def test_spending_comes_back_and_what_was_reserved_does_not() -> None:
    fleet = Kept("a/m", budgets=(USERS, ALL))
    settle(fleet, "ann", 30)
    settle(fleet, "bob", 40)
    assert fleet.spending.ledger.reserve("call", "attempt", 100, payer(user="ann"), fleet.wall)
    other = fleet.restarted()
    (ann,) = (each for each in other.spending.budget("per-user", NOW_WALL).accounts if each.key == "ann")

    assert spent_of(other) == {"ann": 30, "bob": 40}
    assert spent_of(other, "monthly") == {"": 70}
    assert ann.reserved == 0
    assert other.resumed.budgets == {"per-user", "monthly"}


def test_every_settlement_is_noted_with_what_the_account_has_come_to() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 30)
    fleet.memory.note_settled()
    settle(fleet, "ann", 5)
    settle(fleet, "bob", 4)
    settle(fleet, "ann", 1)
    noted = [(line.key, line.spent_nano_usd) for line in fleet.memory.settled()]

    assert noted == [("bob", 4), ("ann", 36)]
    assert fleet.memory.settled() == []


def test_what_was_noted_after_the_snapshot_counts_once_with_it() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.memory.note_settled()
    settle(fleet, "ann", 30)
    early = [(line, fleet.wall) for line in fleet.memory.settled()]
    lines = fleet.lines()
    settle(fleet, "ann", 5)
    settle(fleet, "eve", 2)
    late = [(line, fleet.wall) for line in fleet.memory.settled()]

    assert spent_of(fleet.restarted(lines=[*early, *lines, *late])) == {"ann": 35, "eve": 2}
    assert spent_of(fleet.restarted(lines=[*lines, *early, *late])) == {"ann": 35, "eve": 2}


def test_budgets_of_another_configuration_are_noted_too() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.memory.note_settled()
    fleet.spending.adopt((USERS, ALL), fleet.state.fleet, fleet.wall)
    settle(fleet, "ann", 5)

    assert {line.budget.name for line in fleet.memory.settled()} == {"per-user", "monthly"}


def test_period_that_ends_between_two_settlements_of_one_turn_takes_nothing_of_the_next_one_with_it() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.memory.note_settled()
    settle(fleet, "ann", 30)
    settle(fleet, "bob", 20)
    fleet.now += PERIOD_SECONDS
    settle(fleet, "ann", 7)
    noted: list[tuple[Line, float]] = [(line, fleet.wall) for line in fleet.memory.settled()]
    book = fleet.restarted(lines=noted, after=0.0).spending.ledger.books[0]

    assert {each.key: each.spent for each in book.report(fleet.wall, 9).accounts} == {"ann": 7}


def test_budget_that_was_taken_out_is_kept_for_when_it_comes_back() -> None:
    fleet = Kept("a/m", budgets=(USERS, ALL))
    settle(fleet, "ann", 300)
    fleet.spending.adopt((ALL,), fleet.state.fleet, fleet.wall)

    assert spent_of(fleet.restarted()) == {"ann": 300}


def test_budget_that_is_not_there_at_the_start_is_kept_on_for_when_it_comes_back() -> None:
    fleet = Kept("a/m", budgets=(USERS, ALL))
    settle(fleet, "ann", 300)
    without = fleet.restarted(budgets=(ALL,))
    again = without.restarted(budgets=(USERS, ALL))
    without.spending.adopt((USERS, ALL), without.state.fleet, without.wall)

    assert without.resumed.budgets == {"monthly"}
    assert spent_of(without) == spent_of(again) == {"ann": 300}
    assert [line.budget.name for line, _ in without.lines() if isinstance(line, BudgetLine)] == ["per-user", "monthly"]


def test_budget_that_is_not_there_until_its_period_is_over_begins_anew() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)
    without = fleet.restarted(budgets=())
    without.now += PERIOD_SECONDS
    lines = without.lines()
    without.spending.adopt((USERS,), without.state.fleet, without.wall)

    assert not [line for line, _ in lines if isinstance(line, BudgetLine)]
    assert spent_of(without) == {}


def test_only_so_many_budgets_that_are_not_there_are_kept_on() -> None:
    many = tuple(budget(f"b{n}", period=BudgetPeriod.TOTAL) for n in range(RESTING_MAXIMUM + 4))
    fleet = Kept("a/m", budgets=many)
    settle(fleet, "ann", 300)
    without = fleet.restarted(budgets=many[:2])

    assert len(without.resumed.budgets) == 2
    assert len(without.spending.ledger.absent(without.wall)) == RESTING_MAXIMUM


def test_budget_that_was_taken_out_and_whose_period_is_over_is_not_kept() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)
    fleet.spending.adopt((), fleet.state.fleet, fleet.wall)
    fleet.now += PERIOD_SECONDS

    assert not [line for line, _ in fleet.lines() if isinstance(line, BudgetLine)]


def test_limit_that_was_changed_keeps_what_was_spent() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)
    other = fleet.restarted(budgets=(budget("per-user", 100, scope=BudgetScope.USER),))

    assert spent_of(other) == {"ann": 300}


@pytest.mark.parametrize(
    "changed",
    [
        budget("renamed", scope=BudgetScope.USER),
        budget("per-user", scope=BudgetScope.TENANT),
        budget("per-user", scope=BudgetScope.USER, period=BudgetPeriod.DAY),
    ],
    ids=["name", "scope", "period"],
)
def test_budget_that_means_something_else_begins_anew(changed: BudgetSpec) -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)
    other = fleet.restarted(budgets=(changed,))

    assert spent_of(other, changed.name) == {}
    assert other.resumed.budgets == set()


def test_values_that_were_changed_since_the_start_lose_nothing_that_was_spent() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)
    there = replace(USERS, limit_nano_usd=7, calendar=EvenCalendar(timezone="Europe/Berlin"))
    fleet.spending.change(there, "", fleet.wall)

    assert spent_of(fleet.restarted()) == {"ann": 300}


SHIFTED = budget("per-user", scope=BudgetScope.USER, calendar=EvenCalendar(timezone="Europe/Berlin", shift=400.0))


def test_another_time_zone_keeps_what_was_spent_over_a_restart_as_over_a_reload() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    settle(fleet, "ann", 300)

    assert spent_of(fleet.restarted(budgets=(SHIFTED,))) == {"ann": 300}


def test_time_zone_that_was_changed_since_the_snapshot_loses_nothing_that_was_spent() -> None:
    for back in (SHIFTED, USERS):
        fleet = Kept("a/m", budgets=(USERS,))
        settle(fleet, "ann", 300)
        settle(fleet, "bob", 20)
        lines = fleet.lines()
        fleet.memory.note_settled()
        fleet.spending.adopt((SHIFTED,), fleet.state.fleet, fleet.wall)
        settle(fleet, "ann", 5)
        late = [(line, fleet.wall) for line in fleet.memory.settled()]

        assert spent_of(fleet.restarted(lines=[*lines, *late], budgets=(back,))) == {"ann": 305, "bob": 20}


def test_time_zone_that_was_changed_is_journaled_with_all_that_it_gives_another_period() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.now += 650.0
    settle(fleet, "ann", 300)
    lines = fleet.lines()
    fleet.memory.note_settled()
    fleet.spending.adopt((SHIFTED,), fleet.state.fleet, fleet.wall)
    late = [(line, fleet.wall) for line in fleet.memory.settled()]
    fleet.now += 450.0

    assert spent_of(fleet.restarted(lines=[*lines, *late], budgets=(SHIFTED,))) == {"ann": 300}


def test_what_is_journaled_after_a_start_in_another_time_zone_goes_on_from_the_snapshot_before() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.now += 650.0
    settle(fleet, "ann", 300)
    settle(fleet, "bob", 20)
    lines = fleet.lines()
    second = fleet.restarted(lines=lines, budgets=(SHIFTED,))
    second.memory.note_settled()
    settle(second, "ann", 5)
    late = [(line, second.wall) for line in second.memory.settled()]
    second.now += 450.0

    assert spent_of(second.restarted(lines=[*lines, *late])) == {"ann": 305, "bob": 20}


def test_period_that_is_over_is_over() -> None:
    fleet = Kept("a/m", budgets=(USERS, budget("total", period=BudgetPeriod.TOTAL)))
    settle(fleet, "ann", 300)
    other = fleet.restarted(after=PERIOD_SECONDS)

    assert spent_of(other) == {}
    assert spent_of(other, "total") == {"": 300}


def test_clock_that_was_put_back_over_the_beginning_of_a_period_loses_nothing_that_was_spent() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.now += PERIOD_SECONDS
    settle(fleet, "ann", 300)
    other = fleet.restarted(wall_step=-2 * PERIOD_SECONDS)

    assert {each.key: each.spent for each in other.spending.ledger.books[0].report(0.0, 9).accounts} == {"ann": 300}
    assert other.spending.ledger.books[0].span.starts_at < fleet.wall - PERIOD_SECONDS


def test_alert_that_was_told_is_not_told_again() -> None:
    fleet = Kept("a/m", budgets=(ALL,))
    settle(fleet, "ann", 600)
    other = fleet.restarted()

    assert other.spending.ledger.report("", 1, payer(), other.wall, ok=True) == []
    assert [a.share for a in other.spending.ledger.report("", 250, payer(), other.wall, ok=True)] == [0.8]


def test_alert_of_a_lower_limit_is_told_again_when_it_is_reached_again() -> None:
    fleet = Kept("a/m", budgets=(ALL,))
    settle(fleet, "ann", 600)
    other = fleet.restarted(budgets=(budget(limit=10_000),))

    assert [a.share for a in other.spending.ledger.report("", 5000, payer(), other.wall, ok=True)] == [0.5]


def test_account_that_many_share_comes_back() -> None:
    fleet = Kept("a/m", budgets=(USERS,))
    fleet.memory.note_settled()
    for place in range(KEYS_MAXIMUM + 2):
        settle(fleet, f"user {place}", 3)
    noted: list[tuple[Line, float]] = [(line, fleet.wall) for line in fleet.memory.settled()]
    for lines in (fleet.lines(), noted):
        other = fleet.restarted(lines=lines, after=0.0)
        book = other.spending.ledger.books[0]

        assert noted[-1][0].key is None  # type: ignore[union-attr]  # all of them are of settlements
        assert book.find("user 7").spent == 3  # type: ignore[union-attr]  # it is there
        assert book.find("nobody yet").key == OTHER  # type: ignore[union-attr]  # likewise
        assert book.find("nobody yet").spent == 6  # type: ignore[union-attr]  # likewise


def test_rate_limit_readings_are_not_kept() -> None:
    fleet = Kept(keyed("a/m", "main"))
    fleet.ended("a/m", credential="main", rate_limit=RateLimitReading())
    other = fleet.restarted()

    assert not other.state.credentials._headroom
