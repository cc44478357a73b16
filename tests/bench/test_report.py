"""What the report says is what was found: each aim by its bound, each miss with its reason, openings counted right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.decisions.accounts import Account, account
from bench.decisions.aims import COST, HYBRID, LATENCY, PRIORITY, Finding, findings
from bench.decisions.calls import Planned
from bench.decisions.contender import End
from bench.decisions.play import FALLBACK, LITELLM_COST, LITELLM_SHUFFLE, ORACLE_COST, ORACLE_LATENCY, Called, Played
from bench.decisions.providers import Attempt
from bench.decisions.report import (
    NOT_EXPLAINED,
    Reason,
    accounts_table,
    document,
    explained,
    missed,
    reasons,
    trace_part,
)
from bench.decisions.trace import Trace, Traffic
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import Target

TRACE = Trace(name="t", source="somewhere", minutes=1, sidecars=1, traffic=(Traffic(at=0, calls_per_minute=1),))
BOOKS = Account(
    trace="t",
    contender=PRIORITY,
    calls=10_000,
    answerable=10_000,
    answered=9_998,
    answered_answerable=9_998,
    broken=1,
    broken_answerable=1,
    failed=1,
    attempts=10_100,
    trials=5,
    dead_attempts=20,
    openings=4,
    most_dead_in_an_opening=1,
    p50_seconds=1.0,
    p95_seconds=2.0,
    p99_seconds=3.0,
    cost_usd=9.998,
)


def found(*accounts: Account, calm: bool = False) -> dict[str, Finding]:
    trace = TRACE.model_copy(update={"calm": calm})
    return {one.aim: one for one in findings([trace], list(accounts))}


def test_broken_streams_are_left_out_of_the_rate_of_success() -> None:
    assert BOOKS.success == 9_998 / 9_999
    assert BOOKS.cost_per_answer_usd == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("change", "aim", "calm", "met"),
    [
        ({}, "success", False, True),
        ({"answered_answerable": 9_995}, "success", False, True),
        ({"answered_answerable": 9_993}, "success", False, False),
        ({"attempts": 10_310}, "attempts per success", True, False),
        ({"attempts": 10_310}, "attempts per success", False, True),
        ({"attempts": 12_000}, "attempts per success", False, False),
        ({"most_dead_in_an_opening": 2}, "attempts at a dead target in one opening", False, False),
    ],
)
def test_every_aim_has_its_bound(change: dict[str, Any], aim: str, calm: bool, met: bool) -> None:  # noqa: FBT001
    assert found(replace(BOOKS, **change), calm=calm)[aim].met is met


def test_cost_and_latency_are_held_against_the_oracle() -> None:
    oracle = replace(BOOKS, cost_usd=9.5, p95_seconds=1.7)
    aims = found(
        replace(BOOKS, contender=COST),
        replace(oracle, contender=ORACLE_COST),
        replace(BOOKS, contender=LATENCY),
        replace(oracle, contender=ORACLE_LATENCY),
    )

    assert aims["cost by the oracle's"].value == pytest.approx(9.998 / 9.5)
    assert not aims["cost by the oracle's"].met
    assert aims["p95 by the oracle's"].value == pytest.approx(2.0 / 1.7)
    assert not aims["p95 by the oracle's"].met


def test_more_success_beats_a_lower_price_and_equal_success_does_not() -> None:
    cheap = replace(BOOKS, contender=LITELLM_COST, cost_usd=1.0)
    failing = replace(cheap, answered_answerable=9_000)
    ours = replace(BOOKS, contender=COST)

    assert found(ours, failing)[f"against {LITELLM_COST}: success"].met
    assert not found(ours, cheap)[f"against {LITELLM_COST}: cost"].met
    assert not found(BOOKS, replace(BOOKS, contender=FALLBACK, p95_seconds=1.9))[f"against {FALLBACK}: p95"].met


def test_hybrid_is_after_cost_and_latency_both() -> None:
    slow_and_cheap = replace(BOOKS, contender=HYBRID, cost_usd=5.0, p95_seconds=3.0)
    aims = found(slow_and_cheap, replace(BOOKS, contender=LITELLM_SHUFFLE))

    assert aims[f"against {LITELLM_SHUFFLE}: cost and p95"].value == pytest.approx(
        (0.5 / 0.9998 * 1.5) ** 0.5, rel=1e-3
    )


def test_each_missed_aim_stands_in_the_table_with_its_reason_and_no_other_does() -> None:
    wrong, right = Finding("cost", "t", "c", 1.2, 1.05), Finding("cost", "u", "c", 1.0, 1.05)
    why = [Reason(aim="cost", trace="t*", contender="*", why="because\n  of this")]

    assert missed([wrong, right], why)[2:] == ["| t | c | cost | 1.2 | at most 1.05 | because of this |"]
    assert explained(right, why) == NOT_EXPLAINED
    assert missed([right], why) == ["None."]


def test_the_reasons_on_file_can_be_read() -> None:
    assert all(reason.why for reason in reasons())


def test_a_trace_is_told_with_its_source_and_a_line_for_each_contender() -> None:
    lines = trace_part(TRACE, [BOOKS, replace(BOOKS, contender=FALLBACK), replace(BOOKS, trace="other")])

    assert lines[:3] == ["### T", "", "somewhere"]
    assert lines[4:-1] == accounts_table([BOOKS, replace(BOOKS, contender=FALLBACK)])
    assert lines[6] == "| Turnout PRIORITY | 99.990% | 1.010 | 20 | 1 | 1.00 | 2.00 | 3.00 | 1.000 |"


def test_dead_attempts_are_counted_between_one_opening_and_the_next() -> None:
    where = Target("north", "m", "us")
    names = (
        (10.0, EventName.BREAKER_OPENED),
        (20.0, EventName.BREAKER_OPENED),
        (40.0, EventName.BREAKER_CLOSED),
        (50.0, EventName.BREAKER_OPENED),
    )
    events = [Event(name=name, at=at, target=where, provider="north", endpoint="us") for at, name in names]
    times = (5.0, 10.0, 15.0, 20.0, 21.0, 30.0, 35.0, 45.0, 51.0)
    dead = [Attempt(call=n, sidecar=0, target="north/m@us", at=at, dead=True) for n, at in enumerate(times)]
    elsewhere = [Attempt(call=9, sidecar=0, target="south/m", at=30.0, dead=True)]
    alive = [Attempt(call=9, sidecar=0, target="north/m@us", at=30.0, dead=False)]
    books = account(Played(TRACE, PRIORITY, [], [*dead, *elsewhere, *alive], [], [events]))

    # (10, 20]: 2; (20, 40]: 3; from 50 on: 1.
    assert (books.openings, books.most_dead_in_an_opening) == (3, 3)


def test_an_endpoints_opening_counts_the_attempts_at_all_its_models() -> None:
    events = [Event(name=EventName.ENDPOINT_OPENED, at=1.0, provider="north", endpoint="us")]
    targets = ("north/a@us", "north/b@us", "north/a@eu", "south/a@us")
    dead = [Attempt(call=n, sidecar=0, target=name, at=2.0, dead=True) for n, name in enumerate(targets)]

    assert account(Played(TRACE, PRIORITY, [], dead, [], [events])).most_dead_in_an_opening == 2


def test_a_call_that_nobody_could_answer_is_nobodys_failure() -> None:
    call = Planned(0, 0, 0.0, 10, 10, streamed=False)
    calls = [
        Called(call, End.FAILED, 60.0, answerable=False),
        Called(call, End.ANSWERED, 1.0, answerable=True),
        Called(call, End.BROKEN, 1.0, answerable=True),
    ]
    books = account(Played(TRACE, PRIORITY, calls, [], [], [[]]))

    assert (books.success, books.failed, books.broken) == (1.0, 1, 1)


def test_the_document_has_every_part_filled_in() -> None:
    short = list(findings([TRACE], [replace(BOOKS, answered_answerable=9_000)]))
    text = document([TRACE], [BOOKS], short)

    assert "{{" not in text
    assert "At least 10,000 calls" in text
    assert "| t | Turnout PRIORITY | success | 90.009% | at least 99.950% | **not explained yet** |" in text
