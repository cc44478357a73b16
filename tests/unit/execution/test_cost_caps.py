"""A cap over whole calls: every attempt is sent a limit that keeps all of them together within it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import (
    HEAD,
    PRICE,
    SILENCE,
    Script,
    World,
    answer,
    asking,
    chat,
    fail,
    refused,
    spec,
    text,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptRecord, Completed
from turnout_server.core.errors import CallError, NoEligibleTargetError
from turnout_server.core.model import (
    Caller,
    FailureKind,
    MidStreamPolicy,
    ReasoningEffort,
    RejectionReason,
    RouteQuery,
    Usage,
)
from turnout_server.core.settings import FailoverSettings, Limits, Policy
from turnout_server.ports import UpstreamError

# At 1,000 and 2,000 nano-USD a token. Five bytes are two tokens; with the margin and the framing they are 67.
INPUT = 67 * 1000
EXPECTED = 400
"""Tokens of an answer of which nothing is known."""
LEAST = INPUT + EXPECTED * 2000
LONGEST = INPUT + 8000 * 2000
GOOD = answer("word", usage=Usage(input_tokens=67, output_tokens=50))
COST = 67 * 1000 + 50 * 2000
SILENT: Script = [SILENCE]
BROKEN: Script = [0.5, [HEAD, text("four" * 100)], fail(FailureKind.CONNECTION)]
"""Breaks after 400 bytes, which are 100 tokens: 125 with the margin."""
BROKEN_COST = INPUT + 125 * 2000
K = FailureKind
R = RejectionReason


def capped(nano_usd: int, **options: Any) -> RouteQuery:
    return asking(max_cost_usd=nano_usd / 1e9, **options)


def limits(world: World) -> list[tuple[str, int | None]]:
    """Who was called, and with which output limit."""
    return [(played.name, played.call.max_output_tokens) for played in world.upstream.played]


async def completed(world: World, query: RouteQuery, **facts: object) -> Completed:
    end = (await world.stream(query, chat(**facts)))[-1]  # type: ignore[arg-type]  # as `chat` takes them
    assert isinstance(end, Completed)
    return end


async def failed(world: World, query: RouteQuery, **facts: object) -> CallError:
    with pytest.raises(CallError) as caught:
        await world.stream(query, chat(**facts))  # type: ignore[arg-type]  # as `chat` takes them
    return caught.value


def told(attempts: Sequence[AttemptRecord]) -> list[tuple[str, FailureKind | None]]:
    return [(str(attempt.target), attempt.failure) for attempt in attempts]


@in_virtual_time
async def test_where_the_longest_answer_fits_no_limit_is_sent() -> None:
    world = World({"a/m": [GOOD]})
    await world.stream(capped(LONGEST))

    assert limits(world) == [("a/m", None)]


@pytest.mark.parametrize("whose", ["request", "policy", "tier"])
@pytest.mark.parametrize("streaming", [True, False])
@in_virtual_time
async def test_otherwise_as_much_as_fits(whose: str, *, streaming: bool) -> None:
    cap = INPUT + 700 * 2000
    world = World({"a/m": [GOOD]}, policy=Policy(limits=Limits(max_cost_usd=cap / 1e9 if whose == "policy" else None)))
    routing = replace(world.router.configured.settings.routing, tiers={"free": cap / 1e9, "pro": None})
    world.router.adopt(world.fleet, replace(world.router.configured.settings, routing=routing))
    query = capped(cap) if whose == "request" else asking()
    query = replace(query, caller=Caller(tier="free" if whose == "tier" else "pro"))
    if streaming:
        await world.stream(query)
    else:
        await world.executor.execute(query, chat())

    assert limits(world) == [("a/m", 700)]


@in_virtual_time
async def test_the_tightest_of_all_caps_holds() -> None:
    world = World({"a/m": [GOOD]}, policy=Policy(limits=Limits(max_cost_usd=(INPUT + 600 * 2000) / 1e9)))
    await world.stream(capped(INPUT + 700 * 2000))

    assert limits(world) == [("a/m", 600)]


@pytest.mark.parametrize(("asked", "sent"), [(500, 500), (700, 700), (900, 700)])
@in_virtual_time
async def test_never_more_than_the_callers_own_limit_which_is_lowered_where_it_does_not_fit(
    asked: int, sent: int
) -> None:
    world = World({"a/m": [GOOD]})
    await completed(world, capped(INPUT + 700 * 2000), max_output_tokens=asked)

    assert limits(world) == [("a/m", sent)]


@in_virtual_time
async def test_without_a_cap_nothing_is_sent() -> None:
    world = World({"a/m": [GOOD]})
    await world.stream()

    assert limits(world) == [("a/m", None)]


@in_virtual_time
async def test_whoever_is_too_dear_at_worst_is_rejected_and_the_next_takes_its_place() -> None:
    dear = spec("a/m", price=replace(PRICE, output_per_million=4_000_000_000))
    world = World({dear: [GOOD], "b/m": [GOOD]})
    await world.stream(capped(LEAST))
    (decision,) = world.instruments.decisions
    (rejection,) = decision.rejections

    assert limits(world) == [("b/m", EXPECTED)]
    assert rejection.reasons == (R.COST_LIMIT,)
    assert rejection.detail == "0.001602 USD expected, the limit is 0.000867 USD"


@in_virtual_time
async def test_where_nobody_fits_nothing_is_sent() -> None:
    world = World({"a/m": [GOOD], "b/m": [GOOD]})
    with pytest.raises(NoEligibleTargetError) as caught:
        await world.stream(capped(LEAST - 1))

    assert world.names() == []
    assert [rejection.reasons for rejection in caught.value.rejections] == [(R.COST_LIMIT,)] * 2
    assert caught.value.rejections[0].detail == (
        "needs up to 0.000867 USD, 0.000866999 USD is left of the limit of 0.000866999 USD"
    )


@in_virtual_time
async def test_a_failure_that_was_not_billed_leaves_all_of_it() -> None:
    world = World({"a/m": [[refused()]], "b/m": [GOOD]})
    end = await completed(world, capped(LEAST))

    assert limits(world) == [("a/m", EXPECTED), ("b/m", EXPECTED)]
    assert end.cost_nano_usd == COST


@in_virtual_time
async def test_what_a_broken_stream_brought_is_taken_off_for_the_next() -> None:
    world = World({"a/m": [BROKEN], "b/m": [GOOD]})
    await completed(world, capped(BROKEN_COST + INPUT + 600 * 2000, mid_stream=MidStreamPolicy.RESTART))

    assert limits(world) == [("a/m", 758), ("b/m", 600)]


@in_virtual_time
async def test_a_restart_that_the_rest_does_not_pay_for_is_not_made() -> None:
    world = World({"a/m": [BROKEN], "b/m": [GOOD]})
    error = await failed(world, capped(BROKEN_COST + LEAST - 1, mid_stream=MidStreamPolicy.RESTART))

    assert world.names() == ["a/m"]
    (rejection,) = [each for each in error.report.rejections if str(each.target) == "b/m"]
    assert rejection.reasons == (R.COST_LIMIT,)
    assert rejection.detail == "needs up to 0.000867 USD, 0.000866999 USD is left of the limit of 0.001184 USD"


@in_virtual_time
async def test_a_silent_stream_costs_its_input_and_one_that_may_have_thought_all_that_it_could() -> None:
    world = World({"a/m": [SILENT], "b/m": [GOOD]})
    await completed(world, capped(LEAST + INPUT))

    assert limits(world)[-1] == ("b/m", EXPECTED)

    world = World({"a/m": [SILENT], "b/m": [GOOD]})
    error = await failed(world, capped(LEAST + INPUT), reasoning_effort=ReasoningEffort.HIGH)

    assert told(error.report.attempts) == [("a/m", K.TIMEOUT)]
    assert world.names() == ["a/m"]


@pytest.mark.parametrize(
    ("failure", "calls"),
    [
        (fail(K.TIMEOUT), 1),
        (fail(K.TIMEOUT, http_status=504), 1),
        (fail(K.PROTOCOL, http_status=200), 1),
        (fail(K.SERVER_ERROR, http_status=500), 2),
        (refused(), 2),
    ],
)
@in_virtual_time
async def test_an_answer_that_was_to_come_whole_may_have_been_made_whole(failure: UpstreamError, calls: int) -> None:
    whole = spec("a/m", capabilities=frozenset())
    world = World({whole: [[failure]], "b/m": [GOOD]})
    settings = FailoverSettings(max_attempts=2)
    world.router.adopt(world.fleet, replace(world.router.configured.settings, failover=settings))
    query = capped(LEAST + INPUT)
    if calls == 1:
        with pytest.raises(CallError):
            await world.executor.execute(query, chat())
    else:
        await world.executor.execute(query, chat())

    assert len(world.names()) == calls


@in_virtual_time
async def test_a_target_that_is_too_dear_by_now_is_not_waited_for() -> None:
    world = World({"a/m": [[fail(K.CONNECTION)], GOOD]})
    error = await failed(world, capped(LEAST), max_output_tokens=EXPECTED)

    assert told(error.report.attempts) == [("a/m", K.CONNECTION)]
    assert world.now == 0.0


@in_virtual_time
async def test_a_cap_is_used_up_by_all_attempts_together() -> None:
    world = World({"a/m": [BROKEN], "b/m": [BROKEN], "c/m": [BROKEN], "d/m": [GOOD]})
    cap = 3 * BROKEN_COST + INPUT + 450 * 2000
    world.router.adopt(
        world.fleet, replace(world.router.configured.settings, failover=FailoverSettings(max_attempts=4))
    )
    await completed(world, capped(cap, mid_stream=MidStreamPolicy.RESTART))

    assert limits(world)[-1] == ("d/m", 450)


@in_virtual_time
async def test_of_a_cap_and_a_budget_the_lower_limit_is_sent_and_no_more_reserved_than_that() -> None:
    for cap, left in ((500, 700), (700, 500)):
        world = World({"a/m": [GOOD]}, budgets=(budget(limit=INPUT + left * 2000),))
        await world.stream(capped(INPUT + cap * 2000))

        assert limits(world) == [("a/m", 500)]

    world = World({"a/m": [GOOD]}, budgets=(budget(limit=10**9),))
    call = asyncio.create_task(completed(world, capped(INPUT + 500 * 2000), max_output_tokens=1000))
    await asyncio.sleep(0.1)

    assert [account.reserved for account in world.router.budgets.reports()[0].accounts] == [INPUT + 500 * 2000]

    await call


@in_virtual_time
async def test_a_free_target_can_be_used_whatever_is_left() -> None:
    free = spec("b/m", price=replace(PRICE, input_per_million=0, output_per_million=0))
    world = World({"a/m": [BROKEN], free: [GOOD]})
    await completed(world, capped(LEAST, mid_stream=MidStreamPolicy.RESTART), max_output_tokens=EXPECTED)

    assert limits(world) == [("a/m", EXPECTED), ("b/m", EXPECTED)]


@in_virtual_time
async def test_a_target_of_unknown_price_is_not_used_under_a_cap() -> None:
    world = World({spec("a/m", price=None): [GOOD], "b/m": [GOOD]})
    await world.stream(capped(LEAST))
    (rejection,) = world.instruments.decisions[0].rejections

    assert world.names() == ["b/m"]
    assert rejection.reasons == (R.UNKNOWN_PRICE,)


@in_virtual_time
async def test_a_plan_goes_by_what_is_expected() -> None:
    world = World({"a/m": [GOOD]})
    query = capped(LEAST - 1)
    profile = replace(query.profile, input_tokens=2)

    assert len(world.router.deciding.route(replace(query, profile=profile)).candidates) == 1
