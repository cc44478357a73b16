"""Decisions are asked for again where they may have changed, and never shown twice or with a gap."""

from __future__ import annotations

from tests.unit.commands.live.samples import AS_OF, at
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.decision_window import ask_since, joined

OK, UNKNOWN = admin_pb2.DECISION_RESULT_OK, admin_pb2.DECISION_RESULT_UNKNOWN


def made(
    seconds_ago: float, result: admin_pb2.DecisionResult.ValueType = OK, name: str = ""
) -> admin_pb2.DecisionRecord:
    decision = pb.Decision(decision_id=name or f"d{seconds_ago}", decided_at=at(-seconds_ago))
    return admin_pb2.DecisionRecord(decision=decision, result=result)


def test_first_page_is_whole() -> None:
    assert ask_since((), AS_OF) is None


def test_later_pages_begin_with_the_newest_known() -> None:
    assert at(-1) == ask_since((made(1), made(5)), AS_OF)


def test_call_that_has_not_ended_is_asked_for_again() -> None:
    assert at(-5) == ask_since((made(1), made(5, UNKNOWN), made(9)), AS_OF)


def test_plan_that_nobody_reports_is_not_waited_for_for_ever() -> None:
    assert at(-1) == ask_since((made(1), made(90, UNKNOWN)), AS_OF)


def test_what_was_read_takes_the_place_of_what_was_known() -> None:
    known = (made(2, UNKNOWN, "b"), made(3, OK, "a"))
    together = joined(known, [made(1, OK, "c"), made(2, OK, "b")], 5)

    assert [("c", OK), ("b", OK), ("a", OK)] == [(each.decision.decision_id, each.result) for each in together]


def test_no_more_are_kept_than_are_wanted() -> None:
    assert ["c", "b"] == [
        each.decision.decision_id for each in joined((made(2, name="b"), made(3, name="a")), [made(1, name="c")], 2)
    ]


def test_full_page_leaves_out_what_was_known_since_others_may_be_between() -> None:
    read = [made(1, name="z"), made(2, name="y")]

    assert tuple(read) == joined((made(9, name="a"),), read, 2)
