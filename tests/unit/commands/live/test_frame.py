"""The plain frame at 80 columns and wider, and what fits where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.unit.commands.live.samples import (
    OPEN,
    at,
    attempt,
    candidate,
    lasting,
    provider,
    record,
    rejection,
    seen,
    target,
)
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.columns import target_columns
from turnout_server.commands.live.figures import PLAIN_BARS
from turnout_server.commands.live.frame import cut, frame_lines, shortened
from turnout_server.commands.live.heights import heights
from turnout_server.commands.live.seen import Part, Seen
from turnout_server.commands.live.target_detail import target_detail
from turnout_server.commands.live.target_rows import target_rows

NORTH = target(
    "north/large",
    breaker=OPEN,
    reopen_time=at(42),
    health=pb.HEALTH_STATE_OFFLINE,
    score=0.0,
    request_count=6,
    success_rate=0.5,
    error_rates={"SERVER_ERROR": 0.5},
    consecutive_failures=3,
)
SOUTH = target(
    "south/small",
    in_flight=2,
    request_count=120,
    success_rate=1.0,
    latency=pb.LatencySummary(p50=lasting(0.5), p95=lasting(1.5), p99=lasting(2.0), max=lasting(2.5)),
    time_to_first_token=pb.LatencySummary(p50=lasting(0.25)),
    output_tokens=1200,
    cost_usd=0.5,
)
TREND = admin_pb2.GetTrendResponse(points=[admin_pb2.TrendPoint(value=0.25), admin_pb2.TrendPoint(value=1.0)])
DECISION = record(
    candidate("south/small", 0.95),
    rejections=(pb.Rejection(target=NORTH.target, reasons=[pb.REJECTION_REASON_BREAKER_OPEN]),),
    attempts=(attempt("south/small"),),
)
EVENT = admin_pb2.Event(
    sequence=1, name="breaker.opened", time=at(-3), target=NORTH.target, fields={"failure": "TIMEOUT"}
)


def look(**fields: object) -> Seen:
    known: dict[str, object] = {"trends": {"south/small": TREND}, "decisions": (DECISION,), "events": (EVENT,)}
    found = seen(provider(NORTH), provider(SOUTH), **{**known, **fields})  # type: ignore[arg-type] # by their names
    found.status.aggregate.MergeFrom(
        pb.AggregateState(available_target_count=1, request_count=126, success_rate=0.976, in_flight=2, cost_usd=0.5)
    )
    return found


def test_frame_fits_into_80_columns() -> None:
    assert (
        """\
turnout top  127.0.0.1:50151  12:00:00 UTC  1 of 2 targets available
2.1 calls/s  98% ok  2 in flight  0 tok/s  $30.00/h  last 60s

TARGET                STATE         FLT   P50 P50 BY MIN  TTFT   /S  ERR   SPEND
north/large           open 42s        0     -                - 0.10  50%      $0
south/small           healthy         2 500ms        ▂█▄ 250ms  2.0   0%  $0.500

DECISIONS
11:59:59  ok  south/small  HYBRID 0.95; not north BREAKER_OPEN

EVENTS
11:59:57  breaker.opened  north/large  failure=TIMEOUT""".splitlines()
        == list(frame_lines(look(), 80))
    )


def test_further_columns_come_with_room() -> None:
    rows = target_rows(look())
    titles = [{column.title for column in target_columns(width, rows)} for width in (80, 90, 200)]

    assert titles[0] < titles[1] < titles[2]
    assert {"P95", "TOK/S", "SCORE", "$/H", "HEALTH", "BREAKER"} <= titles[2]


def test_names_stay_readable_in_a_narrow_terminal() -> None:
    columns = target_columns(40, target_rows(look()))

    assert ("TARGET", 11) <= (columns[0].title, columns[0].width)
    assert {"STATE", "ERR"} <= {column.title for column in columns}


@given(st.integers(min_value=20, max_value=300), st.integers(min_value=1, max_value=80))
def test_no_line_is_wider_than_the_terminal(width: int, name_length: int) -> None:
    named = seen(provider(target("north/" + "m" * name_length)), decisions=(DECISION,), events=(EVENT,))

    assert all(cell_len(line) <= width for line in frame_lines(named, width))


def test_wide_characters_count_as_two_cells() -> None:
    assert "漢字~" == cut("漢字漢字", 5)
    assert 5 >= cell_len(cut("漢字漢字", 5))


@pytest.mark.parametrize(
    ("width", "expected"),
    [(9, "n/abcdefg"), (8, "n/a~defg"), (3, "n~g"), (2, "~g"), (1, "~"), (0, "")],
)
def test_long_names_keep_both_ends(width: int, expected: str) -> None:
    assert expected == shortened("n/abcdefg", width)


@given(st.text(alphabet="ab漢/@", max_size=40), st.integers(min_value=0, max_value=40))
def test_shortened_names_fit(name: str, width: int) -> None:
    assert cell_len(shortened(name, width)) <= width


def test_targets_with_long_names_can_be_told_apart_and_reasons_are_still_there() -> None:
    long = "anthropic/" + "claude-sonnet-" * 6
    made = record(candidate(f"{long}eu", 0.95), rejections=(rejection(f"{long}us", pb.REJECTION_REASON_DRAINED),))
    happened = admin_pb2.Event(
        sequence=2, name="drained", time=at(-3), target=target(f"{long}us").target, fields={"by": "somebody"}
    )
    shown = provider(target(f"{long}eu"), target(f"{long}us"))
    lines = list(frame_lines(seen(shown, decisions=(made,), events=(happened,)), 80))

    assert ["eu", "us"] == [line.split()[0][-2:] for line in lines if " healthy " in line]
    assert any("eu  HYBRID 0.95; not " in line for line in lines)
    assert any("us  by=somebody" in line for line in lines)


def test_terminal_without_the_bars_gets_plain_ones() -> None:
    assert any(" .@= " in line for line in frame_lines(look(), 80, bars=PLAIN_BARS))
    assert all(line.isascii() for line in frame_lines(look(), 80, bars=PLAIN_BARS))


def test_what_cannot_be_read_says_why_and_what_is_not_there_that_it_is_not() -> None:
    refused = look(decisions=(), events=(), refused={Part.EVENTS: "PERMISSION_DENIED: not with this token"})
    lines = list(frame_lines(refused, 80))

    assert "no decisions" == lines[lines.index("DECISIONS") + 1]
    assert "PERMISSION_DENIED: not with this token" == lines[lines.index("EVENTS") + 1]


def test_sidecar_without_targets_says_so() -> None:
    assert "no targets: no provider is configured" in list(frame_lines(seen(), 80))


def test_sidecar_that_does_not_answer_shows_how_old_its_values_are() -> None:
    first = next(frame_lines(look(lost="cannot reach 127.0.0.1:50151: nobody there", age_seconds=12.0), 120))

    assert "turnout top  NO ANSWER  127.0.0.1:50151  values of 12:00:00 UTC, 12s old: nobody there" == first


def test_why_it_does_not_answer_is_said_without_the_address_once_more() -> None:
    first = next(frame_lines(look(lost="the sidecar at 127.0.0.1:50151 did not answer in time", age_seconds=9.0), 120))

    assert first.endswith("9s old: did not answer in time")


def test_detail_has_what_happened_to_the_target_in_the_latest_decisions() -> None:
    text = "\n".join(target_detail(look(), "north/large"))

    assert "breaker     open 42s, 3 failures in a row" in text
    assert "failures    SERVER_ERROR 50%" in text
    assert "rejected: BREAKER_OPEN; south/small: HYBRID 0.95" in text
    assert "11:59:57 breaker.opened  failure=TIMEOUT" in text


def test_detail_has_the_latencies_minute_by_minute() -> None:
    text = "\n".join(target_detail(look(), "south/small"))

    assert "latency     p50 500ms, p95 1.50s, p99 2.00s, max 2.50s" in text
    assert "by minute   250ms 1.00s" in text
    assert "ranked 1 of 1 with 0.95" in text


def test_detail_of_a_target_whose_name_is_shown_otherwise_than_it_is() -> None:
    found = seen(provider(target("north/a  b")))
    (row,) = target_rows(found)

    assert any("healthy, score 100" in line for line in target_detail(found, row.name))


def test_detail_of_a_target_that_is_gone_says_so() -> None:
    assert ["west/m is not there any more: the configuration has changed"] == target_detail(look(), "west/m")


@pytest.mark.parametrize(("lines", "count"), [(20, 2), (20, 40), (21, 6), (60, 12), (200, 400)])
def test_tables_share_all_lines_and_each_has_a_row(lines: int, count: int) -> None:
    parts = heights(lines, count)

    assert lines == parts.targets + parts.decisions + parts.events
    assert min(parts.targets, parts.decisions, parts.events) >= 2
    assert parts.targets <= max(count + 1, 2)


def test_targets_get_at_most_half_of_the_lines() -> None:
    assert 10 == heights(20, 400).targets
