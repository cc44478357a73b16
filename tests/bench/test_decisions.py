"""The benchmark of decisions can be believed: one short trace through every contender, and its books held against
what the providers saw, counted here in other ways."""

from __future__ import annotations

from collections import Counter
from functools import cache
from statistics import median_low

import pytest

from bench.decisions.accounts import Account, account, percentile
from bench.decisions.calls import DEADLINE_SECONDS, planned
from bench.decisions.contender import End
from bench.decisions.play import CONTENDERS, ORACLE_COST, ORACLE_LATENCY, TURNOUT, Played, play
from bench.decisions.trace import Fault, Trace, Traffic, What, fleet
from bench.decisions.turnout import Turnout

SHORT = Trace(
    name="short",
    source="made up for this test: a little of everything",
    minutes=3,
    sidecars=2,
    traffic=(Traffic(at=0, calls_per_minute=30), Traffic(at=2, calls_per_minute=60)),
    faults=(
        Fault(what=What.ERRORS, where="north/large@us", at=0.2, until=1),
        Fault(what=What.BLACK_HOLE, where="east/*", at=0.5, until=1.5),
        Fault(what=What.REFUSED, where="west/*", at=1, until=1.6),
        Fault(what=What.CUT, where="*", at=1.5, until=2, share=0.3),
        Fault(what=What.LIMIT, where="west/*", at=2, until=3, requests_per_minute=10),
        Fault(what=What.PRICE, where="west/*", at=0, until=3, factor=2),
        Fault(what=What.SLOW, where="north/*", at=2, until=3, factor=2),
    ),
)
DEAD = (("north/large@us", 12.0, 60.0), ("east/", 30.0, 90.0), ("west/", 60.0, 96.0))
"""The same by hand: targets whose names begin so answer nobody from one second to another."""
OURS = [name for name in CONTENDERS if name.startswith(TURNOUT)]


@cache
def played(contender: str) -> Played:
    return play(SHORT, contender)


@cache
def booked(contender: str) -> Account:
    return account(played(contender))


@pytest.mark.parametrize("contender", CONTENDERS)
def test_every_contender_gets_the_same_calls_and_ends_each_once(contender: str) -> None:
    calls = played(contender).calls
    books = booked(contender)

    assert planned(SHORT, 2) == sorted((called.planned for called in calls), key=lambda call: call.number)
    assert books.calls == len(calls) == books.answered + books.broken + books.failed
    assert all(0.0 < called.ended - called.planned.at <= DEADLINE_SECONDS + 1e-6 for called in calls)


@pytest.mark.parametrize("contender", CONTENDERS)
def test_a_call_is_answered_by_its_last_attempt_and_by_no_other(contender: str) -> None:
    by_call: dict[int, list[bool]] = {}
    for attempt in played(contender).attempts:
        if attempt.call is not None:
            by_call.setdefault(attempt.call, []).append(attempt.ok)
    answered = {called.planned.number for called in played(contender).calls if called.end is End.ANSWERED}

    assert answered == {number for number, oks in by_call.items() if oks[-1]}
    assert all(not any(oks[:-1]) for oks in by_call.values())


@pytest.mark.parametrize("contender", CONTENDERS)
def test_attempts_dead_attempts_and_costs_are_what_the_providers_saw(contender: str) -> None:
    books, attempts = booked(contender), played(contender).attempts
    by_number = {called.planned.number: called.planned for called in played(contender).calls}
    prices = {target.name: target for target in fleet().targets}
    dead = sum(
        any(one.target.startswith(where) and start <= one.at < end for where, start, end in DEAD) for one in attempts
    )
    cost = 0.0
    for one in attempts:
        if one.ok and one.call is not None:
            call, price = by_number[one.call], prices[one.target]
            usd = call.input_tokens * price.input_usd_per_million + call.output_tokens * price.output_usd_per_million
            cost += usd * (2.0 if one.target.startswith("west") else 1.0) / 1e6
    others = sum(one.cost_usd for one in attempts if not one.ok or one.call is None)

    assert (books.attempts, books.dead_attempts) == (len(attempts), dead)
    assert books.cost_usd == pytest.approx(cost + others)
    # What is left is the paid part of broken answers, and trials of one token.
    assert 0.0 <= others < 0.1 * cost


@pytest.mark.parametrize("contender", CONTENDERS)
def test_rates_and_percentiles_count_a_failed_call_as_its_whole_deadline(contender: str) -> None:
    books, calls = booked(contender), played(contender).calls
    seconds = [
        DEADLINE_SECONDS if called.end is End.FAILED else called.ended - called.planned.at
        for called in calls
        if called.end is not End.BROKEN
    ]
    counted = [called for called in calls if called.answerable and called.end is not End.BROKEN]

    assert books.success == sum(called.end is End.ANSWERED for called in counted) / len(counted)
    assert books.p50_seconds == median_low(seconds)
    assert books.p50_seconds <= books.p95_seconds <= books.p99_seconds <= DEADLINE_SECONDS
    assert sum(value > books.p95_seconds for value in seconds) <= 0.05 * len(seconds)


@pytest.mark.parametrize("contender", OURS)
def test_turnouts_own_books_agree_with_the_providers(contender: str) -> None:
    sidecars = played(contender).sidecars
    told = [record for one in sidecars if isinstance(one, Turnout) for record in one.told.attempts]
    seen = played(contender).attempts
    # Streams that broke are charged by an estimate.
    paid = [one.cost_usd for one in seen if one.ok]

    assert Counter(str(record.target) for record in told) == Counter(one.target for one in seen)
    assert sum(record.failure is None for record in told) == len(paid)
    assert sum((r.cost_nano_usd or 0) / 1e9 for r in told if r.failure is None) == pytest.approx(sum(paid), rel=1e-4)


@pytest.mark.parametrize("oracle", [ORACLE_COST, ORACLE_LATENCY])
def test_the_oracle_answers_all_that_can_be_answered_in_one_attempt_each(oracle: str) -> None:
    books = booked(oracle)

    assert books.success == 1.0
    assert books.dead_attempts == 0
    assert books.attempts == books.answered


def test_nobody_is_cheaper_or_faster_than_the_oracle_by_more_than_what_it_does_not_pay_for() -> None:
    answering = [name for name in CONTENDERS if booked(name).success == 1.0]
    cheapest = min(booked(name).cost_per_answer_usd for name in answering)
    fastest = min(booked(name).p50_seconds for name in answering)

    assert booked(ORACLE_COST).cost_per_answer_usd <= 1.02 * cheapest
    assert booked(ORACLE_LATENCY).p50_seconds <= 1.02 * fastest


@pytest.mark.parametrize("contender", [OURS[-1], "LiteLLM, latency"])
def test_the_same_trace_plays_the_same_way_again(contender: str) -> None:
    assert account(play(SHORT, contender)) == booked(contender)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.95, 4.0), (0.25, 1.0), (0.26, 2.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
