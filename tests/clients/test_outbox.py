"""What waits to be reported is bounded, and what cannot be reported is counted."""

from __future__ import annotations

import logging

import pytest

from turnout.outbox import Outbox
from turnout.v1 import router_pb2 as pb


def outcome(number: int) -> pb.Outcome:
    return pb.Outcome(attempt_id=str(number))


def test_a_full_outbox_drops_the_oldest() -> None:
    outbox = Outbox(max_pending_count=2)

    for number in range(3):
        outbox.add(outcome(number))

    assert [taken.attempt_id for taken in outbox.take()] == ["1", "2"]
    assert outbox.dropped_count == 1


def test_batches_are_bounded_and_in_order() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.add(outcome(number))

    assert [taken.attempt_id for taken in outbox.take(3)] == ["0", "1", "2"]
    assert [taken.attempt_id for taken in outbox.take(3)] == ["3", "4"]


def test_a_rejected_report_is_logged_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    rejected = pb.OutcomeResult(status=pb.OUTCOME_STATUS_REJECTED, reason="no such target")

    with caplog.at_level(logging.WARNING, "turnout"):
        Outbox().sent([outcome(1)], pb.ReportOutcomeResponse(results=[rejected]))

    assert "no such target" in caplog.text


def test_what_nobody_took_is_the_oldest_again() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.add(outcome(number))
    batch = outbox.take(2)

    outbox.put_back(batch, OSError("away"))

    assert [taken.attempt_id for taken in outbox.take()] == ["0", "1", "2"]
    assert outbox.dropped_count == 0


def test_a_full_outbox_drops_the_oldest_of_what_comes_back() -> None:
    outbox = Outbox(max_pending_count=2)
    for number in range(2):
        outbox.add(outcome(number))
    batch = outbox.take(2)
    outbox.add(outcome(2))

    outbox.put_back(batch, OSError("away"))

    assert [taken.attempt_id for taken in outbox.take()] == ["1", "2"]
    assert outbox.dropped_count == 1


def test_it_is_told_once_that_outcomes_wait(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox()
    outbox.add(outcome(1))

    with caplog.at_level(logging.WARNING, "turnout"):
        for _ in range(3):
            outbox.put_back(outbox.take(), OSError("away"))

    assert len(caplog.records) == 1


def test_it_is_told_once_that_outcomes_are_dropped_until_none_waits(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox()
    told: list[int] = []

    with caplog.at_level(logging.WARNING, "turnout"):
        for _ in range(2):
            for number in range(3000):
                outbox.add(outcome(number))
            told.append(len(caplog.records))
            while batch := outbox.take():
                outbox.sent(batch, pb.ReportOutcomeResponse())

    assert (told, outbox.dropped_count) == ([1, 2], 4000)
    assert "more than 1000 outcomes wait" in caplog.records[0].getMessage()


@pytest.mark.parametrize("end", ["sent", "lost", "dropped"])
def test_a_failure_presses_until_it_is_sent_or_given_up(end: str) -> None:
    outbox = Outbox(max_pending_count=1)
    outbox.add(outcome(0))
    pressing = [outbox.pressing]
    outbox.add(outcome(1), urgent=True)
    pressing.append(outbox.pressing)

    if end == "dropped":
        outbox.add(outcome(2))
    else:
        batch = outbox.take()
        pressing.append(outbox.pressing)
        if end == "sent":
            outbox.sent(batch, pb.ReportOutcomeResponse())
        else:
            outbox.lost(batch, OSError("refused"))

    assert pressing == [False, True, *([True] if end != "dropped" else [])]
    assert not outbox.pressing
