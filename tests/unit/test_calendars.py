"""When periods begin: in time zones, where clocks change, and one after the other without a gap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.calendars import UnknownTimezoneError, calendar
from turnout_server.core.budget import BudgetPeriod, Span

HOUR = 3600.0
DAY = 24 * HOUR
ZONES = ("UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo")
DATED = (BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH)


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("period", "starts", "ends"),
    [
        (BudgetPeriod.MINUTE, "2026-07-15T13:45", "2026-07-15T13:46"),
        (BudgetPeriod.HOUR, "2026-07-15T13:00", "2026-07-15T14:00"),
        (BudgetPeriod.DAY, "2026-07-15", "2026-07-16"),
        (BudgetPeriod.WEEK, "2026-07-13", "2026-07-20"),
        (BudgetPeriod.MONTH, "2026-07-01", "2026-08-01"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_periods_begin_where_the_zones_clocks_say(period: BudgetPeriod, starts: str, ends: str, zone: str) -> None:
    span = calendar(period, zone).span(at("2026-07-15T13:45:30", zone))

    assert Span(at(starts, zone), at(ends, zone)) == span


def test_december_is_followed_by_january() -> None:
    span = calendar(BudgetPeriod.MONTH, "UTC").span(at("2026-12-31T23:59:59"))

    assert Span(at("2026-12-01"), at("2027-01-01")) == span


def test_a_total_budget_has_no_end() -> None:
    assert calendar(BudgetPeriod.TOTAL, "Europe/Berlin").span(at("2026-07-15")) == Span(0.0, None)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_a_day_has_the_hours_that_the_clocks_give_it(day: str, hours: int) -> None:
    starts_at, ends_at = calendar(BudgetPeriod.DAY, "Europe/Berlin").span(at(f"{day}T12:00", "Europe/Berlin"))

    assert ends_at is not None
    assert hours * HOUR == ends_at - starts_at


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    hours = calendar(BudgetPeriod.HOUR, "Europe/Berlin")
    first, second = (hours.span(at("2026-10-25T02:30", "Europe/Berlin", fold=fold)) for fold in (0, 1))

    assert first.ends_at == second.starts_at
    assert second.starts_at - first.starts_at == HOUR


def test_a_midnight_that_the_clocks_skip_begins_at_the_change() -> None:
    # In 2018 the clocks of Sao Paulo went from Saturday 23:59:59 to Sunday 01:00.
    change = at("2018-11-04T01:00", "America/Sao_Paulo")
    days = calendar(BudgetPeriod.DAY, "America/Sao_Paulo")

    assert days.span(change - 1).ends_at == change
    assert days.span(change).starts_at == change


def test_of_a_midnight_that_comes_twice_the_first_counts() -> None:
    # In Havana 01:00 becomes 00:00 on the first Sunday of November.
    first = at("2026-11-01T00:00", "America/Havana")
    days = calendar(BudgetPeriod.DAY, "America/Havana")

    assert days.span(first + 1.5 * HOUR).starts_at == first
    assert days.span(first).ends_at == first + 25 * HOUR


@given(
    period=st.sampled_from([period for period in BudgetPeriod if period is not BudgetPeriod.TOTAL]),
    zone=st.sampled_from(ZONES),
    moment=st.floats(0, 4e9),
)
def test_every_moment_lies_in_its_period_and_the_next_one_follows_at_once(
    period: BudgetPeriod, zone: str, moment: float
) -> None:
    found = calendar(period, zone)
    starts_at, ends_at = found.span(moment)

    assert ends_at is not None
    assert starts_at <= moment < ends_at
    assert found.span(starts_at).starts_at == starts_at
    if period in DATED:
        assert found.span(ends_at).starts_at == ends_at


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "x" * 5000, "a\0b"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownTimezoneError, match="no time zone"):
        calendar(BudgetPeriod.DAY, name)


def test_utc_is_known_without_any_file() -> None:
    assert calendar(BudgetPeriod.DAY, "UTC").zone is UTC
