"""What is remembered of calls for those who look back: under which heading, and what counts as moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from tests.unit.core.fleets import NOW, SetFleet, decided, spec
from turnout_server.core.chronicle import Heading, Sums
from turnout_server.core.model import Caller, FailureKind, Feedback, Outcome, RequestProfile, RouteQuery, Target
from turnout_server.core.past import Past

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
DECISION = decided(SetFleet(*map(spec, ("a/m", "b/m", "c/m"))), profile=RequestProfile(task="chat", input_tokens=10))
CALLER = Caller(tenant="acme", tier="pro")


def past(*, executing: bool = True) -> Past:
    made = Past(8 << 20, now=NOW)
    decision = dataclasses.replace(DECISION, decision_id="d")
    made.decided(decision, RouteQuery(executing=executing, caller=CALLER))
    return made


def attempts(made: Past, *ends: tuple[Target, bool]) -> None:
    for number, (target, ok) in enumerate(ends):
        failure = None if ok else FailureKind.TIMEOUT
        made.ended(Outcome(target=target, decision_id="d", attempt_id=f"a{number}", failure=failure), NOW)


def sums(made: Past) -> dict[Heading, Sums]:
    (slot,) = made.chronicle.stretch(None, None, NOW).slots
    return slot.sums


def test_report_that_repeats_nothing_of_the_request_is_under_the_heading_of_its_decision() -> None:
    made = past(executing=False)
    attempts(made, (B, True))

    assert sums(made)[Heading(B, "chat", "pro", "acme")].attempts.total == 1


def test_report_of_an_unknown_decision_is_under_what_it_says_itself() -> None:
    made = past()
    made.ended(Outcome(target=B, decision_id="other", attempt_id="x", task="plan", caller=Caller(tenant="t")), NOW)

    assert sums(made)[Heading(B, "plan", "", "t")].attempts.total == 1


@pytest.mark.parametrize(
    ("executing", "ends", "expected"),
    [
        (True, [(A, True)], {}),
        (True, [(A, False), (A, True)], {}),
        (True, [(A, False), (B, True)], {A: 1}),
        (True, [(A, False), (B, False), (C, True)], {A: 1}),
        (False, [(A, False), (B, True), (A, False), (B, True)], {A: 2}),
        (False, [(A, True), (B, True)], {}),
    ],
)
def test_call_is_moved_once_from_where_it_failed_and_a_plan_as_often_as_it_is_used(
    executing: bool,  # noqa: FBT001  # a parameter of a table
    ends: Sequence[tuple[Target, bool]],
    expected: dict[Target, int],
) -> None:
    made = past(executing=executing)
    attempts(made, *ends)

    assert {h.target: each.moved_count for h, each in sums(made).items() if each.moved_count} == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        # The first was let go, the second was, the first failed and the second went on.
        ([(A, False, False), (B, True, True)], {}),
        ([(B, False, True), (A, True, False)], {}),
        # Both failed, and then the call moved.
        ([(A, False, False), (B, False, True), (C, True, False)], {A: 1}),
    ],
)
def test_hedge_moves_no_call(ends: Sequence[tuple[Target, bool, bool]], expected: dict[Target, int]) -> None:
    made = past()
    for number, (target, ok, hedge) in enumerate(ends):
        failure = None if ok else FailureKind.CANCELLED
        outcome = Outcome(target=target, decision_id="d", attempt_id=f"a{number}", failure=failure, hedge=hedge)
        made.ended(outcome, NOW)

    assert {h.target: each.moved_count for h, each in sums(made).items() if each.moved_count} == expected


def test_judgement_counts_where_its_attempt_does_though_it_came_first() -> None:
    made = past()
    made.history.judged(Feedback(decision_id="d", attempt_id="a0", quality=0.25))
    attempts(made, (B, True))

    assert sums(made)[Heading(B, "chat", "pro", "acme")].attempts.feedback_sum == 0.25


def test_bound_is_for_decisions_and_sums_together() -> None:
    made = past()
    made.ended(Outcome(target=A, attempt_id="x"), NOW + 60.0)
    made.bound(100)

    assert made.history.size_bytes + made.chronicle.size_bytes <= 100
    assert len(made.history) == 0


def test_clearing_forgets_decisions_and_sums_but_not_which_ids_were_made() -> None:
    made = past()

    assert made.clear(None, None) == 1
    assert not made.chronicle.stretch(None, None, NOW).slots
    assert made.history.made("d", NOW)
