"""The other contenders follow the rules that they are said to follow: a benchmark against a straw man says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bench.decisions.calls import Planned
from bench.decisions.contender import End
from bench.decisions.fallback import OrderedFallback
from bench.decisions.litellm_rules import Choice, LiteLlmRules
from bench.decisions.providers import Providers
from bench.decisions.trace import Fault, Trace, Traffic, What
from tests.virtual_time import run

FOREVER = 1000.0


def providers(*faults: Fault) -> Providers:
    return Providers(
        Trace(
            name="t",
            source="s",
            minutes=FOREVER,
            sidecars=1,
            traffic=(Traffic(at=0, calls_per_minute=1),),
            faults=faults,
        )
    )


def fault(what: What, where: str, **facts: float | bool) -> Fault:
    return Fault.model_validate({"what": what, "where": where, "at": 0, "until": FOREVER, **facts})


def call(number: int, *, streamed: bool = False, output_tokens: int = 100) -> Planned:
    return Planned(number, 0, 0.0, 100, output_tokens, streamed)


def made(contender: OrderedFallback | LiteLlmRules, calls: Sequence[Planned], *, every: float) -> list[End]:
    async def main() -> list[End]:
        ends = []
        for one in calls:
            ends.append(await contender.call(one))
            await asyncio.sleep(every)
        return ends

    return run(main())


def targets(of: Providers) -> list[str]:
    return [attempt.target for attempt in of.attempts]


def test_fallback_tries_in_order_and_remembers_nothing() -> None:
    world = providers(fault(What.ERRORS, "north/*"))
    made(OrderedFallback(world, 0), [call(1), call(2)], every=1.0)

    assert targets(world) == ["north/large@us", "north/large@eu", "north/small@us", "south/medium@us"] * 2


def test_one_429_cools_at_once_for_five_seconds_where_no_wait_is_told() -> None:
    world = providers(fault(What.LIMIT, "west/*", requests_per_minute=1, tells=False))
    cost = LiteLlmRules(world, 0, Choice.COST)
    made(cost, [call(n) for n in range(4)], every=0.5)
    limited = [attempt for attempt in world.attempts if attempt.target.startswith("west") and not attempt.ok]

    # Each endpoint is one deployment and is refused once in 5 s.
    assert [one.target for one in limited][:2] == ["west/cheap@us", "west/cheap@eu"]
    gaps = [b.at - a.at for a in limited for b in limited if b.target == a.target and b.at > a.at]
    assert all(gap >= 5.0 for gap in gaps)


@pytest.mark.parametrize(("calls", "cooled"), [(1, False), (2, True)])
def test_more_than_half_of_at_least_five_failures_in_a_minute_cool(calls: int, cooled: bool) -> None:  # noqa: FBT001
    # Each call tries the same target three times: it is still the cheapest.
    world = providers(fault(What.ERRORS, "west/cheap@us", after_seconds=0.1))
    cost = LiteLlmRules(world, 0, Choice.COST)
    ends = made(cost, [call(n) for n in range(calls)], every=0.1)

    assert ends == ([End.FAILED, End.ANSWERED] if cooled else [End.FAILED])
    assert targets(world).count("west/cheap@us") == (5 if cooled else 3)


def test_failed_connections_never_cool() -> None:
    world = providers(fault(What.REFUSED, "west/cheap@us"))
    ends = made(LiteLlmRules(world, 0, Choice.COST), [call(n) for n in range(10)], every=0.1)

    assert ends == [End.FAILED] * 10
    assert set(targets(world)) == {"west/cheap@us"}


def test_latency_tries_everybody_once_and_then_takes_the_lowest_mean_of_ten() -> None:
    world = providers()
    latency = LiteLlmRules(world, 0, Choice.LATENCY)
    made(latency, [call(n, output_tokens=400) for n in range(40)], every=0.1)
    seen = targets(world)

    assert len(set(seen[:9])) == 9
    assert seen[15:].count("east/fast@us") + seen[15:].count("east/fast@eu") == len(seen[15:])


def test_when_all_cool_it_waits_and_tries_again() -> None:
    world = providers(fault(What.LIMIT, "*", requests_per_minute=1, tells=False))
    shuffle = LiteLlmRules(world, 0, Choice.SHUFFLE)
    ends = made(shuffle, [call(n) for n in range(30)], every=0.0)

    assert End.FAILED in ends
    assert len(world.attempts) < 30 * 3
