"""Decisions with what was not chosen and why, events, budgets."""

from __future__ import annotations

import pytest

from tests.unit.commands.live.samples import at, attempt, candidate, provider, record, rejection, seen, target
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.budget_rows import budget_texts
from turnout_server.commands.live.decision_rows import decision_row, decision_rows
from turnout_server.commands.live.event_rows import event_row, event_rows
from turnout_server.commands.live.target_rows import Tone

BREAKER, DRAINED = pb.REJECTION_REASON_BREAKER_OPEN, pb.REJECTION_REASON_DRAINED
NORTH = provider(target("north/m"))


def test_decision_says_who_was_chosen_who_was_rejected_and_who_came_second() -> None:
    made = record(
        candidate("south/m", 0.95),
        candidate("west/m", 0.8),
        rejections=(rejection("north/a", BREAKER), rejection("south/old", DRAINED)),
        attempts=(attempt("south/m"),),
    )
    row = decision_row(made)

    assert ("11:59:59", "ok", Tone.GOOD, "south/m") == (row.time, row.result, row.tone, row.chosen)
    assert "HYBRID 0.95; not north BREAKER_OPEN, south/old DRAINED; before west/m 0.80" == row.why


def test_decision_that_was_drawn_by_chance_says_so() -> None:
    row = decision_row(record(candidate("south/m", 0.9, share=0.4), candidate("west/m", 0.95, share=0.6)))

    assert "HYBRID 0.90 (chance 40%); before west/m 0.95" == row.why


def test_small_chance_is_not_shown_as_none() -> None:
    row = decision_row(record(candidate("south/m", 0.9, share=0.0025), candidate("west/m", 0.95, share=0.9975)))

    assert "HYBRID 0.90 (chance 0.2%); before west/m 0.95" == row.why


def test_failover_says_what_failed_first_and_who_had_ranked_first() -> None:
    made = record(
        candidate("north/m", 0.9),
        candidate("south/m", 0.8),
        attempts=(attempt("north/m", pb.FAILURE_KIND_TIMEOUT), attempt("south/m")),
    )
    row = decision_row(made)

    assert "south/m" == row.chosen
    assert row.why.startswith("after north/m TIMEOUT; HYBRID 0.90 north/m; ")


def test_decision_without_candidates_says_why_not_and_the_reason() -> None:
    made = record(rejections=(rejection("north/m", BREAKER),), result=admin_pb2.DECISION_RESULT_FAILED)
    row = decision_row(made)

    assert ("nobody", Tone.BAD) == (row.chosen, row.tone)
    assert "not north BREAKER_OPEN; the reason" == row.why


def test_many_rejected_for_the_same_are_counted() -> None:
    rejections = tuple(rejection(f"p{number}/m", BREAKER) for number in range(5))
    row = decision_row(record(candidate("south/m", 1.0), rejections=rejections))

    assert "HYBRID 1.00; not p0, p1, p2 and 2 more BREAKER_OPEN" == row.why


@pytest.mark.parametrize(("pattern", "expected"), [("chat", 1), ("south", 1), ("north", 0)])
def test_decisions_are_filtered_by_target_and_task(pattern: str, expected: int) -> None:
    look = seen(NORTH, decisions=(record(candidate("south/m", 1.0), task="chat"),))

    assert expected == len(decision_rows(look, pattern=pattern))


def test_event_has_its_facts_in_order_and_the_decision_last() -> None:
    event = admin_pb2.Event(
        sequence=7,
        name="breaker.opened",
        time=at(0),
        target=pb.Target(provider="north", model="m"),
        fields={"decision_id": "d-1", "until": "soon", "failure": "TIMEOUT"},
    )
    row = event_row(event)

    assert ("12:00:00", "breaker.opened", Tone.BAD, "north/m", "d-1") == (
        row.time,
        row.name,
        row.tone,
        row.where,
        row.decision_id,
    )
    assert "failure=TIMEOUT  until=soon  decision_id=d-1" == row.facts


def test_event_of_an_endpoint_and_of_nobody_have_their_place() -> None:
    endpoint = admin_pb2.Event(name="endpoint.opened", target=pb.Target(provider="north", endpoint="eu"))

    assert ["north@eu", "-"] == [event_row(each).where for each in (endpoint, admin_pb2.Event(name="config.reloaded"))]


def test_events_are_filtered_by_name_and_place() -> None:
    happened = (
        admin_pb2.Event(name="recovered", target=pb.Target(provider="north", model="m")),
        admin_pb2.Event(name="config.reloaded"),
    )
    look = seen(NORTH, events=happened)

    assert ["recovered"] == [row.name for row in event_rows(look, pattern="NORTH")]
    assert ["config.reloaded"] == [row.name for row in event_rows(look, pattern="config")]


def test_budgets_stand_by_what_is_used_and_have_what_is_left() -> None:
    spend = admin_pb2.BudgetSpend(spent_usd=50.0, reserved_usd=10.0, remaining_usd=440.0)
    used = admin_pb2.BudgetSpend(key="acme", spent_usd=2.0, remaining_usd=0.0)
    look = seen(
        NORTH,
        budgets=(
            admin_pb2.Budget(
                name="monthly",
                scope=admin_pb2.BUDGET_SCOPE_GLOBAL,
                period=admin_pb2.BUDGET_PERIOD_MONTH,
                limit_usd=500.0,
                spend=[spend],
            ),
            admin_pb2.Budget(
                name="tenants",
                scope=admin_pb2.BUDGET_SCOPE_TENANT,
                period=admin_pb2.BUDGET_PERIOD_TOTAL,
                limit_usd=4.0,
                replicas=2,
                spend=[used],
            ),
            admin_pb2.Budget(name="fresh", period=admin_pb2.BUDGET_PERIOD_DAY, limit_usd=1.0),
        ),
    )

    assert [
        ("tenants acme $2.00 of $2.00, 0% left", Tone.BAD),
        ("monthly $50.00 +$10.00 reserved of $500.00 per month, 88% left", Tone.GOOD),
        ("fresh $0 of $1.00 per day", Tone.GOOD),
    ] == [(one.text, one.tone) for one in budget_texts(look)]
