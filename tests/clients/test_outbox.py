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
        Outbox().sent(pb.ReportOutcomeResponse(results=[rejected]))

    assert "no such target" in caplog.text
