"""Which calls get a line, what stands in it, and that a flood of them is counted instead of written."""

from __future__ import annotations

import random

import pytest
import structlog
from structlog.testing import CapturingLogger

from turnout_server.telemetry.logs.access_log import (
    CANCELLED,
    ERROR_CHARACTERS,
    LINES_A_SECOND,
    OK,
    AccessLog,
    AccessMode,
    AccessRecord,
)

GOOD = AccessRecord("Execute", OK, 0.5, decision_id="d-1", target="a/m", attempt_count=1)
FAILED = AccessRecord("Execute", "ATTEMPTS_EXHAUSTED", 0.5, error="no", decision_id="d-2", failures="TIMEOUT")
MOVED = AccessRecord("Execute", OK, 0.5, target="b/m", attempt_count=2, failures="OVERLOADED")
LEFT = AccessRecord("ExecuteStream", CANCELLED, 0.5)


class Book:
    """An access log, and the lines that it wrote."""

    def __init__(self, mode: AccessMode = AccessMode.PROBLEMS) -> None:
        self.now = 100.0
        self.written = CapturingLogger()
        log = structlog.wrap_logger(self.written, processors=[])
        self.log = AccessLog(log, clock=lambda: self.now, rng=random.Random(1), mode=mode)

    @property
    def lines(self) -> list[tuple[str, dict[str, object]]]:
        return [(call.method_name, dict(call.kwargs)) for call in self.written.calls]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(AccessMode.PROBLEMS, ["d-2", None]), (AccessMode.ALL, ["d-1", "d-2", None, None])],
)
def test_only_problems_have_a_line_unless_all_are_wanted(mode: AccessMode, expected: list[str | None]) -> None:
    book = Book(mode)
    for record in (GOOD, FAILED, MOVED, LEFT):
        book.log.ended(record)

    assert [line.get("decision_id") for _, line in book.lines] == expected


def test_a_failed_call_is_a_warning_and_a_line_holds_no_empty_fields() -> None:
    book = Book()
    book.log.ended(FAILED)
    book.log.ended(MOVED)

    assert book.lines == [
        (
            "warning",
            {
                "event": "call",
                "method": "Execute",
                "result": "ATTEMPTS_EXHAUSTED",
                "latency_seconds": 0.5,
                "error": "no",
                "decision_id": "d-2",
                "failures": "TIMEOUT",
            },
        ),
        (
            "info",
            {
                "event": "call",
                "method": "Execute",
                "result": "OK",
                "latency_seconds": 0.5,
                "target": "b/m",
                "attempt_count": 2,
                "failures": "OVERLOADED",
            },
        ),
    ]


def test_sampled_logs_every_problem_and_about_a_hundredth_of_the_rest() -> None:
    book = Book(AccessMode.SAMPLED)
    for _ in range(20_000):
        book.now += 1.0
        book.log.ended(GOOD)
    sampled = len(book.lines)
    book.log.ended(FAILED)

    assert 100 < sampled < 300
    assert len(book.lines) == sampled + 1


def test_a_flood_is_counted_and_told_in_the_next_second() -> None:
    book = Book()
    for _ in range(LINES_A_SECOND + 50):
        book.log.ended(FAILED)
    assert len(book.lines) == LINES_A_SECOND
    book.now += 1.0
    book.log.ended(FAILED)

    assert book.lines[-2] == (
        "warning",
        {"event": "call.left_out", "line_count": 50, "most_a_second": LINES_A_SECOND},
    )
    assert book.log.left_out_count == 50


def test_a_long_error_is_cut() -> None:
    book = Book()
    book.log.ended(FAILED._replace(error="x" * 5000))

    assert book.lines[0][1]["error"] == "x" * ERROR_CHARACTERS


def test_another_mode_counts_from_the_next_call() -> None:
    book = Book()
    book.log.ended(GOOD)
    book.log.follow(AccessMode.ALL)
    book.log.ended(GOOD)

    assert len(book.lines) == 1
