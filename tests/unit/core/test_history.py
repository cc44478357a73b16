"""The history: newest first, bounded in bytes, with what came of each decision."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import SetFleet, decided, spec
from turnout_server.core.decision import Decision
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.history import ATTEMPTS_MAXIMUM, DecisionFilter, DecisionResult, History
from turnout_server.core.model import Caller, FailureKind, Feedback, Outcome, RequestProfile, RouteQuery, Target

A, B = Target("a", "m"), Target("b", "m")
FLEET = SetFleet(spec("a/m", quality=90.0), spec("b/m", quality=10.0))
WALL = 1.7e9


def decision(decision_id: str, *, task: str = "", wall: float = WALL, **options: Any) -> Decision:
    made = decided(FLEET, profile=RequestProfile(input_tokens=10, task=task), exclude=("b",), **options)
    return dataclasses.replace(made, decision_id=decision_id, decided_at_wall=wall)


def history(*ids: str, max_bytes: int = 1_000_000) -> History:
    made = History(max_bytes)
    for decision_id in ids:
        made.add(decision(decision_id), RouteQuery())
    return made


def outcome(decision_id: str, attempt_id: str = "1", **facts: Any) -> Outcome:
    return Outcome(**{"target": A, "decision_id": decision_id, "attempt_id": attempt_id, **facts})


def ids(made: History, wanted: DecisionFilter | None = None, **page: Any) -> list[str]:
    return [record.decision.decision_id for record in made.page(wanted or DecisionFilter(), **page).records]


def test_decisions_are_listed_newest_first() -> None:
    assert ids(history("1", "2", "3")) == ["3", "2", "1"]


def test_record_tells_who_asked_and_holds_no_prompt() -> None:
    made = History(100_000)
    query = RouteQuery(
        profile=RequestProfile(text_hint="the planted prompt"),
        caller=Caller(tenant="acme", labels={"team": "x"}),
        request_id="r",
        session_id="s",
        executing=True,
    )
    made.add(decision("1"), query)
    record = made.get("1")

    assert record is not None
    assert (record.caller, record.request_id, record.session_id, record.executing) == (query.caller, "r", "s", True)
    assert "the planted prompt" not in repr(record)


def test_unknown_decision_is_none() -> None:
    assert history("1").get("2") is None


def test_attempts_join_their_decision_in_order() -> None:
    made = history("1", "2")
    first = outcome("1", "a", failure=FailureKind.TIMEOUT)
    made.attempt(first)
    made.attempt(outcome("1", "b"))
    made.attempt(outcome("unknown", "c"))
    record = made.get("1")

    assert record is not None
    assert [attempt.outcome for attempt in record.attempts] == [first, outcome("1", "b")]


def result(made: History, decision_id: str = "1") -> DecisionResult:
    record = made.get(decision_id)
    assert record is not None
    return record.result


def test_result_is_unknown_until_something_is_known() -> None:
    made = history("1")

    assert result(made) is DecisionResult.UNKNOWN

    made.attempt(outcome("1", "a", failure=FailureKind.TIMEOUT))

    assert result(made) is DecisionResult.FAILED

    made.attempt(outcome("1", "b"))

    assert result(made) is DecisionResult.OK


def test_decision_without_candidates_has_failed() -> None:
    made = History(100_000)
    made.add(decision("1", min_quality=100.0), RouteQuery())

    assert result(made) is DecisionResult.FAILED


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (DecisionFilter(), ["3", "2", "1"]),
        (DecisionFilter(target=A), ["3", "1"]),
        (DecisionFilter(target=B), ["2"]),
        (DecisionFilter(task="chat"), ["2"]),
        (DecisionFilter(tenant="acme"), ["3"]),
        (DecisionFilter(result=DecisionResult.OK), ["2"]),
        (DecisionFilter(result=DecisionResult.UNKNOWN), ["3", "1"]),
        (DecisionFilter(from_wall=WALL + 2.0), ["3", "2"]),
        (DecisionFilter(until_wall=WALL + 2.0), ["1"]),
        (DecisionFilter(from_wall=WALL + 2.0, until_wall=WALL + 3.0, task="chat"), ["2"]),
        (DecisionFilter(task="chat", tenant="acme"), []),
    ],
)
def test_filters(wanted: DecisionFilter, expected: list[str]) -> None:
    made = History(100_000)
    made.add(decision("1", wall=WALL + 1.0), RouteQuery())
    made.add(decision("2", task="chat", wall=WALL + 2.0), RouteQuery())
    made.add(decision("3", wall=WALL + 3.0), RouteQuery(caller=Caller(tenant="acme")))
    # Chosen was a; what was called in the end is what counts.
    made.attempt(outcome("2", target=B))

    assert ids(made, wanted) == expected


def test_pages_follow_each_other_without_gap_or_repeat_while_decisions_are_made() -> None:
    made = history(*"123456789")
    first = made.page(DecisionFilter(), page_size=4)
    made.add(decision("new"), RouteQuery())
    second = made.page(DecisionFilter(), page_size=4, page_token=first.next_page_token)
    third = made.page(DecisionFilter(), page_size=4, page_token=second.next_page_token)
    found = [record.decision.decision_id for page in (first, second, third) for record in page.records]

    assert found == list("987654321")
    assert third.next_page_token == ""


def test_full_last_page_has_no_next() -> None:
    assert history("1", "2").page(DecisionFilter(), page_size=2).next_page_token == ""


@pytest.mark.parametrize("token", ["x", "!!!", "ü", "YmVmb3JlIHg=", "YWZ0ZXIgMQ==", "//////==", "gICA"])
def test_page_token_that_is_not_ours_is_the_callers_mistake(token: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        history("1").page(DecisionFilter(), page_token=token)

    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_judgement_joins_its_attempt_before_or_after_it_is_reported() -> None:
    made = history("1")
    made.attempt(outcome("1", "a"))

    assert made.judged(Feedback(decision_id="1", attempt_id="a", quality=0.5)) is True
    assert made.judged(Feedback(decision_id="1", attempt_id="b", quality=0.7)) is True

    made.attempt(outcome("1", "b"))
    record = made.get("1")

    assert record is not None
    assert [attempt.quality for attempt in record.attempts] == [0.5, 0.7]


def test_attempt_is_judged_once() -> None:
    made = history("1")
    made.attempt(outcome("1", "a"))
    for attempt_id in "ab":
        made.judged(Feedback(decision_id="1", attempt_id=attempt_id, quality=0.5))

        assert made.judged(Feedback(decision_id="1", attempt_id=attempt_id, quality=0.9)) is False


def test_judgement_of_an_unknown_decision_is_told_apart() -> None:
    assert history("1").judged(Feedback(decision_id="2", attempt_id="a", quality=0.5)) is None


def test_oldest_decisions_make_room() -> None:
    size = history("1").size_bytes
    made = history(*"12345", max_bytes=3 * size)

    assert ids(made) == ["5", "4", "3"]
    assert made.size_bytes <= 3 * size


def test_attempts_take_room_too_and_are_bounded() -> None:
    made = history("1")
    before = made.size_bytes
    for n in range(ATTEMPTS_MAXIMUM + 10):
        made.attempt(outcome("1", str(n), detail="x" * 100))
    record = made.get("1")

    assert record is not None
    assert len(record.attempts) == ATTEMPTS_MAXIMUM
    assert made.size_bytes > before + ATTEMPTS_MAXIMUM * 1000


def test_id_of_a_decision_is_known_longer_than_its_details() -> None:
    made = history("1", max_bytes=10)
    now = decision("1").decided_at

    assert made.get("1") is None
    assert made.made("1", now + 3599.0)
    assert not made.made("1", now + 3600.0)
    assert not made.made("", now)
    assert not made.made("2", now)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "attempt"]), st.integers(0, 20), st.integers(0, 500)), max_size=80),
    st.integers(0, 30_000),
)
def test_history_never_holds_more_than_its_bytes(steps: list[tuple[str, int, int]], max_bytes: int) -> None:
    made = History(max_bytes)
    for place, (what, number, length) in enumerate(steps):
        if what == "add":
            made.add(decision(str(number)), RouteQuery(request_id="r" * length))
        else:
            made.attempt(outcome(str(number), str(place), detail="d" * length))

        assert 0 <= made.size_bytes <= max_bytes
        assert made.size_bytes == sum(entry.size for entry in made._entries.values())
        assert len(ids(made, page_size=100)) == len(made)
