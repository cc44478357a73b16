"""What a snapshot and a journal are as bytes: whatever happened to them, they are read right or told to be unusable."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.kept import AgesLine, KeptBudget, SpentLine
from turnout_server.state.files import (
    UnusableError,
    journal_heading,
    journal_line,
    read_journal,
    read_snapshot,
    snapshot_heading,
)
from turnout_server.state.lines import MIGRATIONS, VERSION, Entry, Frame, decode, encode

BUDGET = KeptBudget("monthly", "user", "total", "UTC", 0.0, None)
LINES = [encode(Entry(number, 1.5, SpentLine(BUDGET, "ann", number * 100))) for number in (1, 2, 3)]
WHOLE = snapshot_heading(LINES) + b"".join(LINES)
JOURNAL = journal_heading() + b"".join(map(journal_line, LINES))


def read_lines(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in read_snapshot(data).lines]


def test_snapshot_is_read_as_it_was_written() -> None:
    assert read_lines(WHOLE) == LINES
    assert [entry.line for entry in (decode(line, VERSION) for line in LINES) if entry] == [
        SpentLine(BUDGET, "ann", 100),
        SpentLine(BUDGET, "ann", 200),
        SpentLine(BUDGET, "ann", 300),
    ]


def test_no_bit_of_a_snapshot_can_flip_without_being_noticed() -> None:
    for place in range(len(WHOLE) * 8):
        flipped = bytearray(WHOLE)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(UnusableError):
            read_snapshot(bytes(flipped))


def test_no_snapshot_that_was_cut_is_taken() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(UnusableError):
            read_snapshot(WHOLE[:length])


@given(st.binary(max_size=300))
def test_whatever_stands_there_is_a_snapshot_or_is_told_to_be_unusable(data: bytes) -> None:
    for text in (data, b"turnout-snapshot " + data, WHOLE + data):
        try:
            body = read_snapshot(text)
        except UnusableError as error:
            assert str(error)
        else:
            assert body.lines == read_snapshot(WHOLE).lines


@given(st.binary(max_size=300))
def test_whatever_stands_there_is_a_journal_or_is_told_to_be_unusable(data: bytes) -> None:
    for text in (data, b"turnout-journal " + data, JOURNAL + data):
        try:
            body = read_journal(text)
        except UnusableError as error:
            assert str(error)
        else:
            assert {line + b"\n" for line in body.lines} <= set(LINES)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"{}", "is no snapshot of Turnout"),
        (b"\x7fELF\x02\x01\x01", "is no snapshot of Turnout"),
        (JOURNAL, "is no snapshot of Turnout"),
        (WHOLE[:-5], r"is not whole: it has \d+ of \d+ bytes"),
        (WHOLE + b"x", r"is not whole: it has \d+ of \d+ bytes"),
        (WHOLE[:-2] + b"!\n", "is damaged: its checksum does not agree"),
        (b"turnout-snapshot", "is damaged: its heading is not whole"),
        (b"turnout-snapshot 1 12\n", "is damaged: its heading is not whole"),
        (b"turnout-snapshot 0 0 0\n", "is damaged: its heading is not whole"),
        (b"turnout-snapshot 1 " + b"9" * 5000 + b" 0\n", "is damaged: its heading is not whole"),
        (snapshot_heading(LINES, 2), "is of a newer Turnout: format 2, and this one knows those up to 1"),
    ],
)
def test_reason_why_a_snapshot_is_not_taken_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableError) as caught:
        read_snapshot(data)

    assert re.fullmatch(reason, str(caught.value))


def test_journal_that_was_cut_anywhere_has_every_line_before() -> None:
    ends = [JOURNAL.index(journal_line(line)) + len(journal_line(line)) for line in LINES]
    for length in range(len(journal_heading()), len(JOURNAL)):
        body = read_journal(JOURNAL[:length])

        assert [line + b"\n" for line in body.lines] == LINES[: sum(end <= length for end in ends)]
        assert body.torn == (length not in (len(journal_heading()), *ends))


def test_journal_that_ended_within_its_heading_says_nothing() -> None:
    for length in range(len(journal_heading()) + 1):
        assert read_journal(journal_heading()[:length]).lines == []


def test_bit_that_flipped_in_a_journal_costs_at_most_two_lines() -> None:
    for place in range(len(journal_heading()) * 8, len(JOURNAL) * 8):
        flipped = bytearray(JOURNAL)
        flipped[place // 8] ^= 1 << place % 8
        body = read_journal(bytes(flipped))

        assert {line + b"\n" for line in body.lines} < set(LINES)
        assert len(body.lines) >= len(LINES) - 2
        assert body.damaged + body.torn >= 1


def test_journal_of_a_newer_version_is_not_read() -> None:
    with pytest.raises(UnusableError, match="newer Turnout"):
        read_journal(journal_heading(VERSION + 1))


# Other versions.


def test_lines_of_older_versions_are_brought_up_to_date_step_by_step() -> None:
    def second(frame: Frame) -> Frame:
        number, at_wall, kind, content = frame
        return [number, at_wall, kind, {**content, "key": content["who"]}]

    def third(frame: Frame) -> Frame:
        number, at_wall, kind, content = frame
        return [number, at_wall, "spent" if kind == "charge" else kind, content]

    content = {"budget": BUDGET, "who": "ann", "spent_nano_usd": 7}
    old = orjson.dumps([4, 2, "charge", content])
    entry = decode(old, 1, newest=3, migrations={1: second, 2: third})

    assert entry == Entry(4, 2.0, SpentLine(BUDGET, "ann", 7))


def test_there_is_a_step_from_every_older_version() -> None:
    assert set(MIGRATIONS) == set(range(1, VERSION))


def test_fields_and_lines_that_a_newer_version_added_are_ignored() -> None:
    more = orjson.dumps([1, 2.0, "ages", {"watched": 5.0, "chronicle": 6.0, "phase_of_the_moon": 0.5}])

    assert decode(more, VERSION) == Entry(1, 2.0, AgesLine(5.0, 6.0))
    assert decode(orjson.dumps([1, 2.0, "moon", {}]), VERSION) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"7", b"null", b'[1, 2, "ages"]', b'["x", 2, "ages", {}]', b'[1, 2, "ages", {"watched": "x"}]'],
)
def test_line_that_says_nothing_known_is_left_out(text: bytes) -> None:
    assert decode(text, VERSION) is None


def test_callers_word_that_is_no_text_costs_its_line_only() -> None:
    assert encode(Entry(1, 2.0, SpentLine(BUDGET, "\ud800", 1))) == b""
    assert encode(Entry(1, 2.0, SpentLine(BUDGET, "line\nbreak", 1))).count(b"\n") == 1
