"""A regional failure for everybody, played with calls that are held to regions: what providers saw, by region."""

from __future__ import annotations

from functools import cache

from bench.decisions.contender import End
from bench.decisions.play import HELD, Called, Played, play
from bench.decisions.trace import Fault, Trace, Traffic, What

ONLY, ORDERED = HELD
TRACE = Trace(
    name="one region, then the other",
    source="as in the trace of a partial regional failure, in fewer minutes",
    minutes=8,
    sidecars=1,
    traffic=(Traffic(at=0, calls_per_minute=20),),
    faults=(
        Fault(what=What.ERRORS, where="*@us", at=1, until=3, after_seconds=0.1),
        Fault(what=What.ERRORS, where="*@eu", at=4, until=6, after_seconds=0.1),
    ),
)
US_DOWN, EU_DOWN = (60.0, 180.0), (240.0, 360.0)
BELIEVED_SECONDS = 60.0
"""After an outage it takes an open time and two trials until a target is used as before."""


@cache
def played(contender: str) -> Played:
    return play(TRACE, contender)


def within(called: Called, span: tuple[float, float], more: float = 0.0) -> bool:
    return span[0] <= called.planned.at < span[1] + more


def test_calls_for_one_region_are_sent_nowhere_else_and_are_lost_only_while_it_is_down() -> None:
    found = played(ONLY)
    lost = [called for called in found.calls if called.end is End.FAILED]

    assert {"eu"} == {attempt.target.partition("@")[2] for attempt in found.attempts}
    assert lost
    assert all(within(called, EU_DOWN, BELIEVED_SECONDS) for called in lost)
    assert any(called.end is End.ANSWERED for called in found.calls if within(called, US_DOWN))


def test_calls_with_an_order_leave_the_first_region_only_while_it_is_down_and_none_is_lost() -> None:
    found = played(ORDERED)
    away = [attempt for attempt in found.attempts if attempt.target.endswith("@us")]
    first = {attempt.call: attempt for attempt in reversed(found.attempts) if attempt.call is not None}

    assert [] == [called for called in found.calls if called.end is End.FAILED]
    assert all(EU_DOWN[0] <= attempt.at < EU_DOWN[1] + BELIEVED_SECONDS for attempt in away)
    assert len(away) >= 6
    assert {"@eu"} == {
        first[called.planned.number].target[-3:]
        for called in found.calls
        if not within(called, EU_DOWN, BELIEVED_SECONDS)
    }
