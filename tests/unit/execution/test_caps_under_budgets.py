"""A call with a cap under a budget: reserved is what its attempts can spend at most, by the limit they are sent."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import HEAD, PRICE, Script, World, answer, asking, chat, fail, refused, spec, text
from tests.virtual_time import in_virtual_time
from turnout_server.core.budget import BudgetPeriod, OnExceed
from turnout_server.core.call import Completed
from turnout_server.core.errors import BudgetExhaustedError, NoEligibleTargetError, TurnoutError
from turnout_server.core.model import Caller, FailureKind, MidStreamPolicy, RejectionReason, RouteQuery, Usage
from turnout_server.core.settings import Limits, Policy

# At 1,000 and 2,000 nano-USD a token. Five bytes are two tokens; with the margin and the framing they are 67.
INPUT = 67 * 1000
GOOD = answer("word", usage=Usage(input_tokens=60, output_tokens=300))
COST = 60 * 1000 + 300 * 2000
LONG = chat(max_output_tokens=4000)
LONG_NEEDS = INPUT + 4000 * 2000


def capped(tokens: int) -> RouteQuery:
    """A call whose cap pays for an answer of so many tokens."""
    return asking(max_cost_usd=(INPUT + tokens * 2000) / 1e9)


def sums(world: World) -> tuple[int, int]:
    """What all have spent, and what is reserved."""
    accounts = world.router.budgets.reports()[0].accounts
    return sum(account.spent for account in accounts), sum(account.reserved for account in accounts)


def limits(world: World) -> list[int | None]:
    return [played.call.max_output_tokens for played in world.upstream.played]


@pytest.mark.parametrize("whose", ["request", "policy", "tier"])
@in_virtual_time
async def test_what_a_cap_lowers_is_reserved_lowered(whose: str) -> None:
    cap = INPUT + 700 * 2000
    policy = Policy(limits=Limits(max_cost_usd=cap / 1e9 if whose == "policy" else None))
    world = World({"a/m": [GOOD]}, policy=policy, budgets=(budget(limit=cap),))
    before = world.router.configured.settings
    routing = replace(before.routing, tiers={"free": cap / 1e9, "pro": None})
    world.router.adopt(world.fleet, replace(before, routing=routing))
    query = capped(700) if whose == "request" else asking()
    query = replace(query, caller=Caller(tier="free" if whose == "tier" else "pro"))
    call = asyncio.create_task(world.stream(query, LONG))
    await asyncio.sleep(0.1)

    assert sums(world) == (0, cap)

    await call

    assert limits(world) == [700]
    assert sums(world) == (COST, 0)


@in_virtual_time
async def test_one_nano_usd_less_in_the_budget_is_too_little_and_says_what_is_needed() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=INPUT + 700 * 2000 - 1),))
    with pytest.raises(BudgetExhaustedError) as caught:
        await world.stream(capped(700), LONG)

    (rejection,) = caught.value.rejections

    assert rejection.reasons == (RejectionReason.BUDGET,)
    assert rejection.detail == "needs up to 0.001467 USD, budget monthly has 0.001467 USD left"
    assert limits(world) == []


@in_virtual_time
async def test_a_cap_that_lowers_nothing_leaves_what_is_needed_as_it_is() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=LONG_NEEDS - 1),))
    with pytest.raises(BudgetExhaustedError):
        await world.stream(capped(5000), LONG)


@in_virtual_time
async def test_a_cap_too_low_for_any_answer_is_no_matter_of_the_budget() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=INPUT + 700 * 2000),))
    with pytest.raises(NoEligibleTargetError) as caught:
        await world.stream(capped(300), LONG)

    assert caught.value.rejections[0].reasons == (RejectionReason.COST_LIMIT,)


@in_virtual_time
async def test_what_fits_under_its_cap_is_not_downgraded() -> None:
    cheap = spec("b/m", price=replace(PRICE, output_per_million=1000))
    limit = budget(limit=INPUT + 700 * 2000, on_exceed=OnExceed.DOWNGRADE)
    world = World({"a/m": [GOOD], cheap: [GOOD]}, budgets=(limit,))
    await world.stream(capped(700), LONG)

    assert world.names() == ["a/m"]


@in_virtual_time
async def test_a_restart_needs_what_the_cap_has_left_and_gives_back_the_rest() -> None:
    # 400 bytes are 100 tokens, 125 with the margin: so much less is left of the cap.
    broken: Script = [0.5, [HEAD, text("four" * 100)], fail(FailureKind.CONNECTION)]
    world = World({"a/m": [broken], "b/m": [GOOD]}, budgets=(budget(limit=INPUT + 900 * 2000),))
    cap = INPUT + 900 * 2000
    query = asking(max_cost_usd=cap / 1e9, mid_stream=MidStreamPolicy.RESTART)
    end = (await world.stream(query, LONG))[-1]

    assert isinstance(end, Completed)
    assert limits(world) == [900, (cap - (INPUT + 125 * 2000) - INPUT) // 2000]
    assert sums(world) == (sum(attempt.cost_nano_usd or 0 for attempt in end.attempts), 0)


@in_virtual_time
async def test_a_hedge_needs_what_the_cap_has_left_beside_the_first() -> None:
    both = INPUT + 1000 * 2000 + INPUT + 600 * 2000
    slow = answer("slow", usage=Usage(input_tokens=60, output_tokens=300), first_after=9.0)
    world = World({"a/m": [slow], "b/m": [GOOD]}, policy=Policy(hedge=True), budgets=(budget(limit=both),))
    call = asyncio.create_task(world.stream(asking(max_cost_usd=both / 1e9), chat(max_output_tokens=1000)))
    await asyncio.sleep(1.9)

    assert limits(world) == [1000, 600]
    assert sums(world) == (0, both)

    end = (await call)[-1]

    assert isinstance(end, Completed)
    assert [attempt.hedge for attempt in end.attempts] == [False, True]
    assert sums(world) == (sum(attempt.cost_nano_usd or 0 for attempt in end.attempts), 0)


@pytest.mark.parametrize("seed", range(2))
@in_virtual_time
async def test_a_hundred_capped_calls_at_once_never_overspend_and_account_for_every_attempt(seed: int) -> None:
    """Answers, refusals, broken streams that begin again, hedges, cancels in mid-air: each is charged once."""
    rng = random.Random(seed)
    scripts: list[Script] = [
        *(12 * [GOOD]),
        answer("word", usage=Usage(input_tokens=60, output_tokens=400), first_after=9.0),
        [0.3, refused()],
        [0.2, fail(FailureKind.SERVER_ERROR)],
        [0.5, [HEAD, text("four" * 50)], fail(FailureKind.CONNECTION)],
    ]
    limit = 2 * LONG_NEEDS
    policy = Policy(hedge=True, mid_stream=MidStreamPolicy.RESTART)
    world = World(
        {name: [rng.choice(scripts) for _ in range(1000)] for name in ("a/m", "b/m", "c/m")},
        policy=policy,
        budgets=(budget(limit=limit, period=BudgetPeriod.TOTAL),),
    )
    outcomes: list[str] = []

    async def call() -> None:
        await asyncio.sleep(rng.random() * 10)
        query = rng.choice((capped(500), capped(900), capped(2500), capped(9000), asking()))
        try:
            async with asyncio.timeout(rng.choice((0.1, 1.0, 60.0))):
                await world.stream(query, chat(max_output_tokens=rng.choice((400, 1000, 4000, None))))
        except TimeoutError:
            outcomes.append("cancelled")
        except BudgetExhaustedError:
            outcomes.append("refused")
        except TurnoutError:
            outcomes.append("failed")
        else:
            outcomes.append("answered")

    async def watch() -> None:
        while len(outcomes) < 100:
            spent, reserved = sums(world)
            assert spent + reserved <= limit
            await asyncio.sleep(0.02)

    await asyncio.gather(watch(), *(call() for _ in range(100)))
    attempts = world.instruments.attempts

    assert sums(world) == (sum(record.cost_nano_usd or 0 for record in attempts), 0)
    assert {"cancelled", "refused", "answered"} <= set(outcomes)
