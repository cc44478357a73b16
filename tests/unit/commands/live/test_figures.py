"""Figures fit into their cells whatever they are, and say neither less nor more than is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.commands.live.samples import AS_OF, at
from turnout_server.commands.live.figures import (
    BARS,
    count,
    lasting,
    money,
    one_line,
    share,
    sparkline,
    took,
    until,
    whole,
)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0.0004, "0ms"),
        (0.412, "412ms"),
        (0.9996, "1.00s"),
        (1.234, "1.23s"),
        (12.34, "12.3s"),
        (120.4, "120s"),
        (2040.0, "34m"),
    ],
)
def test_times_are_as_exact_as_there_is_room(seconds: float | None, expected: str) -> None:
    assert expected == took(seconds)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (0, "0"),
        (0.05, "0.05"),
        (3.21, "3.2"),
        (9.96, "10"),
        (999.6, "1.0k"),
        (12_345, "12k"),
        (3e6, "3.0M"),
    ],
)
def test_counts_are_as_exact_as_there_is_room(value: float | None, expected: str) -> None:
    assert expected == count(value)


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        (None, "-"),
        (0, "$0"),
        (0.00001, "<$.0001"),
        (0.0042, "$0.0042"),
        (0.42, "$0.420"),
        (12.34, "$12.34"),
        (1234.5, "$1234"),
        (12_345.0, "$12.3k"),
    ],
)
def test_money_is_as_exact_as_there_is_room(usd: float | None, expected: str) -> None:
    assert expected == money(usd)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.0, "0%"), (0.0001, "<.1%"), (0.025, "2.5%"), (0.12, "12%"), (0.9999, "99%"), (1.0, "100%")],
)
def test_share_that_is_not_quite_all_or_nothing_is_not_shown_as_such(value: float | None, expected: str) -> None:
    assert expected == share(value)


@given(st.floats(min_value=0, max_value=1e11))
def test_figures_fit_into_their_cells(value: float) -> None:
    lengths = (len(count(value)), len(took(min(value, 86_400))), len(money(min(value, 9e6))))

    assert all(length <= most for length, most in zip(lengths, (4, 5, 8), strict=True))
    assert len(whole(int(value))) <= 4
    assert len(lasting(min(value, 1e7))) <= 4


@given(st.floats(min_value=0, max_value=1))
def test_shares_fit_into_their_cells(value: float) -> None:
    assert len(share(value)) <= 4


def test_time_that_is_left_counts_down_to_now() -> None:
    assert ["12s", "1s", "now", "now"] == [until(at(seconds), AS_OF) for seconds in (12, 0.6, 0.2, -3)]


def test_bar_is_twice_as_high_where_the_value_is_and_a_gap_where_nothing_is_known() -> None:
    assert "▄ █▁" == sparkline([0.5, None, 1.0, 0.0], 4)


def test_bars_are_the_last_ones_at_the_right() -> None:
    assert "  █" == sparkline([1.0], 3)
    assert "▄█" == sparkline([9.0, 9.0, 1.0, 2.0], 2)


@given(st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e9))), st.integers(min_value=0, max_value=40))
def test_bars_are_as_wide_as_asked_for(values: list[float | None], width: int) -> None:
    line = sparkline(values, width)

    assert len(line) == width
    assert set(line) <= {*BARS, " "}


def test_words_of_callers_cannot_disturb_the_terminal() -> None:
    assert "a b �[31m" == one_line("a\n b \x1b[31m")
