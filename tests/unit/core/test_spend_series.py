"""What was spent as series: nothing is lost or counted twice, and failures stand apart."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chronicle import OTHER, Chronicle, Heading
from turnout_server.core.kept import Since
from turnout_server.core.model import FailureKind, Outcome, Target
from turnout_server.core.spend_series import SERIES_MAXIMUM, Spend, SpendQuery, spend, spend_steps
from turnout_server.core.status_report import Steps, finished
from turnout_server.core.summaries import Dimension

A, B = Target("a", "m"), Target("b", "m", "eu")
HOUR = 3600.0
OFFSET = 1_800_000_000.0
"""Of the wall clock over the monotonic one."""


def ended(
    made: Chronicle, now: float, cost: int | None, *, heading: Heading | None = None, failed: bool = False
) -> None:
    failure = FailureKind.SERVER_ERROR if failed else None
    made.ended(heading or Heading(A), Outcome(target=A, failure=failure, cost_nano_usd=cost), now=now)


def asked(
    made: Chronicle,
    now: float,
    *,
    seconds: float = 24 * HOUR,
    step: float = HOUR,
    group_by: Dimension | None = None,
    tenant: str = "",
) -> Spend:
    wanted = SpendQuery(
        from_wall=OFFSET + now - seconds,
        until_wall=OFFSET + now,
        step_seconds=step,
        group_by=group_by,
        tenant=tenant,
    )
    return spend(made, wanted, now=now, now_wall=OFFSET + now)


def test_what_failures_cost_is_part_of_the_cost_and_told_apart() -> None:
    made = Chronicle(2**24, started_at=0.0)
    ended(made, 10.0, 700)
    ended(made, 20.0, 300, failed=True)
    ended(made, 30.0, None)
    found = asked(made, 60.0)
    (series,) = found.series

    assert (found.total.cost, found.total.failed_cost, found.total.unknown) == (1000, 300, 1)
    assert (series.total.cost, series.total.failed_cost, series.total.priced) == (1000, 300, 2)


def test_points_begin_at_whole_hours_by_the_wall_clock() -> None:
    made = Chronicle(2**24, started_at=0.0)
    for hour in range(4):
        ended(made, hour * HOUR + 10.0, 2**hour)
    found = asked(made, 3 * HOUR + 60.0)
    (series,) = found.series
    begins = [at for _, at in found.points]
    amounts = [series.points[place].cost if place in series.points else 0 for place, _ in found.points]

    assert all(at % HOUR == 0.0 for at in begins)
    assert begins == [begins[0] + HOUR * number for number in range(len(begins))]
    assert sum(amounts) == 15
    assert begins[0] <= OFFSET
    assert begins[-1] <= OFFSET + 3 * HOUR + 60.0


def test_the_last_quarter_of_an_hour_is_told_minute_by_minute() -> None:
    made = Chronicle(2**24, started_at=0.0)
    for minute in range(40):
        ended(made, minute * 60.0 + 30.0, 1)
    found = asked(made, 39 * 60.0 + 45.0, seconds=900.0, step=60.0)
    (series,) = found.series
    begins = [at - OFFSET for _, at in found.points]

    # The minute that the quarter begins in counts whole; what was before it does not come in as one lump.
    assert begins == [minute * 60.0 for minute in range(24, 40)]
    assert [series.points[place].cost for place, _ in found.points] == [1] * 16


def test_tenants_beyond_a_hundred_and_those_never_told_apart_are_one_series() -> None:
    made = Chronicle(2**26, started_at=0.0)
    ended(made, 10.0, 5000, heading=Heading(A, tenant=OTHER))
    for number in range(150):
        ended(made, 10.0, 1000 - number, heading=Heading(A, tenant=f"t{number}"))
    found = asked(made, 60.0, group_by=Dimension.TENANT)
    names = [each.name for each in found.series]

    assert (names.count(OTHER), len(names)) == (1, SERIES_MAXIMUM)
    assert sum(each.total.cost for each in found.series) == found.total.cost


def test_series_are_by_what_is_asked_for_the_dearest_first() -> None:
    made = Chronicle(2**24, started_at=0.0)
    ended(made, 10.0, 5, heading=Heading(A, "chat", "free", "acme"))
    ended(made, 10.0, 7, heading=Heading(B, "chat", "pro", "zeta"))
    ended(made, 10.0, 1, heading=Heading(B, "plan", "", "acme"))
    names = {
        dimension: [(each.name, each.total.cost) for each in asked(made, 60.0, group_by=dimension).series]
        for dimension in Dimension
    }

    assert names == {
        Dimension.PROVIDER: [("b", 8), ("a", 5)],
        Dimension.MODEL: [("b/m", 8), ("a/m", 5)],
        Dimension.TARGET: [("b/m@eu", 8), ("a/m", 5)],
        Dimension.TASK: [("chat", 12), ("plan", 1)],
        Dimension.TIER: [("pro", 7), ("free", 5), ("", 1)],
        Dimension.TENANT: [("zeta", 7), ("acme", 6)],
    }
    assert asked(made, 60.0, tenant="acme").total.cost == 6


def test_beyond_a_hundred_the_cheapest_are_one_series() -> None:
    made = Chronicle(2**26, started_at=0.0)
    for number in range(150):
        ended(made, 10.0, 1000 - number, heading=Heading(A, tenant=f"t{number}"))
    found = asked(made, 60.0, group_by=Dimension.TENANT)

    assert len(found.series) == SERIES_MAXIMUM
    assert (found.series[0].name, found.series[-1].name) == ("t0", OTHER)
    assert sum(each.total.cost for each in found.series) == found.total.cost == sum(1000 - n for n in range(150))


def test_without_anything_there_is_one_empty_series_or_none() -> None:
    made = Chronicle(2**24, started_at=0.0)
    whole, apart = asked(made, 60.0), asked(made, 60.0, group_by=Dimension.TASK)

    assert [(each.name, each.total.cost) for each in whole.series] == [("", 0)]
    assert apart.series == ()
    assert len(whole.points) == 1


@given(
    attempts=st.lists(
        st.tuples(st.floats(0, 80_000), st.integers(0, 10**9), st.booleans(), st.sampled_from("abc")), max_size=40
    ),
    step=st.sampled_from([900.0, 1800.0, HOUR, 24 * HOUR]),
    group_by=st.sampled_from([None, *Dimension]),
)
def test_every_attempt_of_the_day_is_in_one_point_of_one_series(
    attempts: list[tuple[float, int, bool, str]], step: float, group_by: Dimension | None
) -> None:
    made = Chronicle(2**26, started_at=0.0)
    for now, cost, failed, word in sorted(attempts):
        ended(made, now, cost, failed=failed, heading=Heading(A, word, word, word))
    found = asked(made, 80_000.0, step=step, group_by=group_by)
    places = {place for place, _ in found.points}
    every = [(place, spent) for series in found.series for place, spent in series.points.items()]

    assert found.total.cost == sum(cost for _, cost, _, _ in attempts) == sum(spent.cost for _, spent in every)
    assert found.total.failed_cost == sum(cost for _, cost, failed, _ in attempts if failed)
    assert {place for place, _ in every} <= places
    assert all(at <= OFFSET + 80_000.0 for _, at in found.points)


def test_failures_stand_apart_after_a_restart_too() -> None:
    made, other = Chronicle(2**24, started_at=0.0), Chronicle(2**24, started_at=0.0)
    ended(made, 10.0, 700)
    ended(made, 20.0, 300, failed=True)
    since = Since(60.0, 0.0)
    lines = list(made.keep(60.0))
    other.resume([(line, since) for line in lines], 0.0, 60.0)
    of_before = Chronicle(2**24, started_at=0.0)
    of_before.resume([(replace(line, failed_costs=()), since) for line in lines], 0.0, 60.0)

    assert (asked(other, 60.0).total.cost, asked(other, 60.0).total.failed_cost) == (1000, 300)
    assert (asked(of_before, 60.0).total.cost, asked(of_before, 60.0).total.failed_cost) == (1000, 0)


def test_others_have_their_turn_and_what_ages_meanwhile_is_counted_once() -> None:
    made = Chronicle(2**26, started_at=0.0)
    for minute in range(120):
        ended(made, minute * 60.0, 1, heading=Heading(A, tenant=f"t{minute}"))
    now = 119 * 60.0 + 30.0
    wanted = SpendQuery(from_wall=OFFSET, until_wall=OFFSET + now, step_seconds=900.0, group_by=Dimension.TENANT)
    pauses = 0

    def counted() -> Steps[Spend]:
        nonlocal pauses
        steps = spend_steps(made, wanted, now=now, now_wall=OFFSET + now)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                whole: Spend = end.value
                return whole
            pauses += 1
            # All the while minutes end, and are merged.
            made.decided(Heading(A), score=1.0, confidence=1.0, now=now + pauses * 60.0)
            yield

    found = finished(counted())

    assert pauses >= 5
    assert found.total.cost == 120 == sum(each.total.cost for each in found.series)
