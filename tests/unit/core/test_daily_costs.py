"""What days cost: nothing is lost or counted twice between the chronicle and them, and they stay within their bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import NOW_WALL
from tests.unit.core.test_taking_over import NOW, Sidecar
from turnout_server.core.chronicle import HEADINGS_MAXIMUM, OTHER, Heading
from turnout_server.core.daily_costs import DAY_SECONDS, DAYS_KEPT, DailyCosts
from turnout_server.core.keeping import Memory
from turnout_server.core.kept import CostsLine, Since
from turnout_server.core.model import FailureKind, Outcome, Target
from turnout_server.core.past import Past
from turnout_server.core.spend_series import Spend, SpendQuery, spend
from turnout_server.core.summaries import Dimension

A = Target("a", "m")
OFFSET = 20_000 * DAY_SECONDS
"""Of the wall clock over the monotonic one: a whole day, so that days of both begin together."""
HOUR = 3600.0
MIB = 1 << 20


def past(max_bytes: int = 64 * MIB) -> Past:
    made = Past(max_bytes, now=0.0)
    made.costs.offset = OFFSET
    return made


def ended(made: Past, now: float, cost: int | None, *, tenant: str = "", failed: bool = False) -> None:
    failure = FailureKind.SERVER_ERROR if failed else None
    made.chronicle.ended(Heading(A, tenant=tenant), Outcome(target=A, failure=failure, cost_nano_usd=cost), now)


def asked(
    made: Past,
    now: float,
    *,
    back: float = 40 * DAY_SECONDS,
    until: float = 0.0,
    step: float = DAY_SECONDS,
    group_by: Dimension | None = None,
    tenant: str = "",
) -> Spend:
    wanted = SpendQuery(
        from_wall=OFFSET + now - back,
        until_wall=OFFSET + now - until,
        step_seconds=step,
        group_by=group_by,
        tenant=tenant,
    )
    return spend(made.chronicle, wanted, now=now, now_wall=OFFSET + now, costs=made.costs)


def by_day(found: Spend) -> dict[int, int]:
    (series,) = found.series
    return {
        int((at_wall - OFFSET) // DAY_SECONDS): series.points[place].cost
        for place, at_wall in found.points
        if place in series.points
    }


def test_a_month_is_told_day_by_day() -> None:
    made = past()
    for day in range(30):
        ended(made, day * DAY_SECONDS + 12 * HOUR, day + 1)
        ended(made, day * DAY_SECONDS + 13 * HOUR, 100, failed=True)
        ended(made, day * DAY_SECONDS + 14 * HOUR, None)
    now = 30 * DAY_SECONDS
    found = asked(made, now)
    week = asked(made, now, back=7 * DAY_SECONDS, step=7 * DAY_SECONDS)

    assert by_day(found) == {day: day + 101 for day in range(30)}
    assert (found.total.failed_cost, found.total.unknown) == (3000, 30)
    assert found.from_wall == OFFSET
    assert len(found.points) == 30
    assert week.total.cost == sum(day + 101 for day in range(23, 30))


def test_a_time_that_ended_long_ago_is_told_alone() -> None:
    made = past()
    for day in range(20):
        ended(made, day * DAY_SECONDS + HOUR, 1)
    found = asked(made, 20 * DAY_SECONDS, back=10 * DAY_SECONDS, until=8 * DAY_SECONDS)

    assert by_day(found) == {10: 1, 11: 1}
    assert (found.from_wall, found.until_wall) == (OFFSET + 10 * DAY_SECONDS, OFFSET + 12 * DAY_SECONDS)


def test_shorter_points_are_of_the_last_day_alone() -> None:
    made = past()
    ended(made, HOUR, 5)
    ended(made, 3 * DAY_SECONDS - HOUR, 7)

    assert asked(made, 3 * DAY_SECONDS, step=HOUR).total.cost == 7
    assert asked(made, 3 * DAY_SECONDS).total.cost == 12


@given(
    ends=st.lists(st.tuples(st.floats(0.0, 20 * HOUR), st.integers(0, 1000), st.sampled_from(("x", "y"))), max_size=60),
    room=st.sampled_from((64 * MIB, 200_000, 40_000)),
)
def test_nothing_is_lost_or_counted_twice_whatever_room_the_chronicle_has(
    ends: Sequence[tuple[float, int, str]], room: int
) -> None:
    made, now, spent = past(room), 0.0, Counter[str]()
    made.costs.bound(64 * MIB)
    for wait, cost, tenant in ends:
        now += wait
        ended(made, now, cost, tenant=tenant)
        spent[tenant] += cost
        found = asked(made, now + 1.0, back=now + DAY_SECONDS, group_by=Dimension.TENANT)

        assert {series.name: series.total.cost for series in found.series} == dict(spent)
        assert asked(made, now + 1.0, back=now + DAY_SECONDS, tenant="x").total.cost == spent["x"]


@given(ends=st.lists(st.tuples(st.floats(0.0, 30 * HOUR), st.integers(1, 9)), min_size=1, max_size=40))
def test_it_comes_back_after_a_restart(ends: Sequence[tuple[float, int]]) -> None:
    made, now = past(), 0.0
    for wait, cost in ends:
        now += wait
        ended(made, now, cost)
    again = past()
    again.costs.resume(made.costs.keep())
    again.chronicle.resume([(line, Since(now, 0.0)) for line in made.chronicle.keep(now)], 0.0, now)
    back = now + DAY_SECONDS

    assert by_day(asked(again, now + 1.0, back=back)) == by_day(asked(made, now + 1.0, back=back))


def test_it_is_bounded_in_days_in_room_and_in_words() -> None:
    many, narrow, wordy = DailyCosts(64 * MIB), DailyCosts(10_000), past()
    for costs in (many, narrow):
        costs.offset = OFFSET
        for day in range(100):
            source = past()
            for number in range(5):
                ended(source, day * DAY_SECONDS, 1, tenant=str(number))
            for slot in source.chronicle.stretch(None, None, day * DAY_SECONDS).slots:
                costs.add(slot)
    for minute in range(3):
        for number in range(HEADINGS_MAXIMUM):
            ended(wordy, minute * 60.0, 1, tenant=f"{minute}-{number}")
    wordy.costs.bound(64 * MIB)
    ended(wordy, 3 * DAY_SECONDS, 0)
    (only,) = wordy.costs.days

    assert len(many.days) == DAYS_KEPT
    assert many.days[-1].begins_wall == OFFSET + 99 * DAY_SECONDS
    assert narrow.size_bytes <= 10_000
    assert narrow.days[-1].begins_wall == OFFSET + 99 * DAY_SECONDS
    assert len(only.costs) <= HEADINGS_MAXIMUM + 1
    assert only.costs[Heading(A, OTHER, OTHER, OTHER)].cost > 0
    assert sum(spent.cost for spent in only.costs.values()) == 3 * HEADINGS_MAXIMUM


def test_a_clock_that_was_years_ahead_for_a_while_does_not_end_it() -> None:
    made = past()
    made.costs.offset = OFFSET + 1e9
    ended(made, 0.0, 1)
    ended(made, 2 * DAY_SECONDS, 1)
    made.costs.offset = OFFSET
    for day in range(4, 40, 2):
        ended(made, day * DAY_SECONDS, 1)

    assert by_day(asked(made, 40 * DAY_SECONDS)) == dict.fromkeys(range(2, 40, 2), 1)


def test_what_is_forgotten_is_gone_here_too() -> None:
    made = past()
    for day in range(4):
        ended(made, day * DAY_SECONDS + HOUR, 1)
    now = 4 * DAY_SECONDS
    made.clear(OFFSET + 2 * DAY_SECONDS, 2 * DAY_SECONDS)
    some = by_day(asked(made, now))
    made.clear(None, None)

    assert some == {2: 1, 3: 1}
    assert asked(made, now).total.cost == 0


def test_a_snapshot_has_it_and_gives_it_back() -> None:
    before, after = Sidecar("a"), Sidecar("a")
    before.state.past.costs.resume([CostsLine(20_001, ((("a", "m", ""), "chat", "", "acme", 70, 20, 3, 1),))])
    Memory(after.state, after.spending).resume(before.lines(), now=NOW, now_wall=NOW_WALL)
    (day,) = after.state.past.costs.days
    ((heading, spent),) = day.costs.items()

    assert (day.number, heading) == (20_001, Heading(Target("a", "m", ""), "chat", "", "acme"))
    assert (spent.cost, spent.failed_cost, spent.priced, spent.unknown) == (70, 20, 3, 1)


def test_a_minute_that_ages_while_it_is_kept_is_not_kept_twice() -> None:
    made = past()
    for minute in range(60):
        ended(made, minute * 60.0, 1)
    now = 60 * 60.0
    lines = made.chronicle.keep(now)
    first = next(lines)
    for minute in range(60, 64):
        ended(made, minute * 60.0, 0)
    kept = [first, *lines]

    assert sum(sums[5][9] for line in kept for *_, sums in line.rows) == 60
