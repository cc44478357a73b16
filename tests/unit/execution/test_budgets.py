"""Budgets over whole calls: what is reserved, sent, settled and given back, whatever becomes of the attempts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import HELLO, PRICE, Script, World, answer, asking, chat, fail, refused, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.budget import BudgetPeriod, BudgetScope, OnExceed
from turnout_server.core.call import Completed
from turnout_server.core.errors import BudgetExhaustedError, CallError, TurnoutError
from turnout_server.core.events import EventName
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Caller, FailureKind, RejectionReason, Usage

USED = Usage(input_tokens=100, output_tokens=50)
COST = 100 * 1000 + 50 * 2000
"""What `USED` costs at 1,000 and 2,000 nano-USD a token."""
# Five bytes are two tokens; with the margin and the framing they are 67.
INPUT_NANO_USD = 67 * 1000
GOOD = answer("word", usage=USED)
DEAR_SHORT = chat(max_output_tokens=1000)
NEEDED = INPUT_NANO_USD + 1000 * 2000


def sums(world: World) -> tuple[int, int]:
    accounts = world.router.budgets.reports()[0].accounts
    return sum(account.spent for account in accounts), sum(account.reserved for account in accounts)


async def completed(world: World, **facts: object) -> Completed:
    end = (await world.stream(**facts))[-1]  # type: ignore[arg-type]  # as `stream` takes them
    assert isinstance(end, Completed)
    return end


@in_virtual_time
async def test_a_call_spends_what_it_cost_and_keeps_nothing_reserved() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=10**9),))
    await world.stream(chat=DEAR_SHORT)

    assert sums(world) == (COST, 0)


@in_virtual_time
async def test_while_an_attempt_runs_the_most_that_it_can_cost_is_reserved() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=10**9),))
    call = asyncio.create_task(world.stream(chat=DEAR_SHORT))
    await asyncio.sleep(0.1)

    assert sums(world) == (0, NEEDED)

    await call


@in_virtual_time
async def test_a_lowered_output_limit_is_sent_to_the_provider() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=INPUT_NANO_USD + 700 * 2000),))
    await world.stream()

    assert world.upstream.played[0].call.max_output_tokens == 700


@in_virtual_time
async def test_where_a_wire_needs_a_limit_the_lower_of_both_is_sent() -> None:
    world = World({spec("a/m", wire="anthropic"): [GOOD]}, budgets=(budget(limit=INPUT_NANO_USD + 700 * 2000),))
    await world.stream()

    assert world.upstream.played[0].call.max_output_tokens == 700


@in_virtual_time
async def test_with_plenty_left_no_limit_of_ours_is_sent() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=10**12),))
    await world.stream()

    assert world.upstream.played[0].call.max_output_tokens is None


@in_virtual_time
async def test_a_failure_that_was_not_billed_costs_nothing_and_the_next_attempt_has_its_room() -> None:
    world = World({"a/m": [[refused()]], "b/m": [GOOD]}, budgets=(budget(limit=NEEDED),))
    end = await completed(world, chat=DEAR_SHORT)

    assert [attempt.cost_nano_usd for attempt in end.attempts] == [0, COST]
    assert sums(world) == (COST, 0)


@in_virtual_time
async def test_nobody_comes_between_the_attempts_of_one_call() -> None:
    world = World({"a/m": [[0.5, refused()], GOOD], "b/m": [GOOD]}, budgets=(budget(limit=NEEDED + 10),))
    first = asyncio.create_task(world.stream(chat=DEAR_SHORT))
    refusals = 0
    while not first.done():
        await asyncio.sleep(0.01)
        try:
            await world.stream(chat=DEAR_SHORT)
        except BudgetExhaustedError:
            refusals += 1
        else:
            break
    await first

    assert refusals > 50
    assert world.names()[:2] == ["a/m", "b/m"]


@in_virtual_time
async def test_a_cancelled_call_gives_back_what_it_held() -> None:
    world = World({"a/m": [[60.0, *GOOD]]}, budgets=(budget(limit=10**9),))
    call = asyncio.create_task(world.stream(chat=DEAR_SHORT))
    await asyncio.sleep(0.1)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    spent, reserved = sums(world)

    assert reserved == 0
    assert spent == sum(record.cost_nano_usd or 0 for record in world.instruments.attempts)


@in_virtual_time
async def test_a_call_that_fits_nowhere_is_refused_before_anything_is_sent() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=NEEDED - 1),))
    with pytest.raises(BudgetExhaustedError) as caught:
        await world.executor.execute(asking(), DEAR_SHORT)

    assert caught.value.budget == "monthly"
    assert caught.value.rejections[0].reasons == (RejectionReason.BUDGET,)
    assert world.names() == []
    assert world.events == []


@in_virtual_time
async def test_a_budget_that_is_used_up_is_told_once_when_it_refuses() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=COST + 1, alert_at=()),))
    short = chat(max_output_tokens=50)
    await world.stream(chat=short)
    for _ in range(3):
        with pytest.raises(BudgetExhaustedError):
            await world.stream(chat=short)

    assert [(event.name, event.fields["share"]) for event in world.events] == [(EventName.BUDGET_EXHAUSTED, 1.0)]


@in_virtual_time
async def test_alerts_are_events_that_say_whose_budget_it_is() -> None:
    world = World({"a/m": [GOOD]}, budgets=(budget(limit=5 * COST, scope=BudgetScope.TENANT, alert_at=(0.5,)),))
    query = replace(asking(), caller=Caller(tenant="acme"))
    short = chat(max_output_tokens=50)
    for _ in range(3):
        await world.executor.execute(query, short)

    (event,) = world.events

    assert event.name is EventName.BUDGET_ALERT
    assert event.fields == {
        "budget": "monthly",
        "scope": "tenant",
        "key": "acme",
        "share": 0.5,
        "spent_usd": pytest.approx(3 * COST / 1e9),
        "limit_usd": pytest.approx(5 * COST / 1e9),
    }


@in_virtual_time
async def test_a_downgrade_takes_the_cheaper_target_when_the_first_no_longer_fits() -> None:
    cheap = replace(PRICE, output_per_million=1000)
    targets: dict[str | TargetSpec, list[Script]] = {"a/m": [GOOD], spec("b/m", price=cheap): [GOOD]}
    world = World(targets, budgets=(budget(limit=NEEDED + COST - 1, on_exceed=OnExceed.DOWNGRADE),))
    ends = [await completed(world, chat=DEAR_SHORT) for _ in range(2)]

    assert [str(end.target) for end in ends] == ["a/m", "b/m"]


@in_virtual_time
async def test_an_answer_tells_what_remains_and_from_four_fifths_on_what_is_cheaper() -> None:
    cheap = replace(PRICE, output_per_million=1000)
    targets: dict[str | TargetSpec, list[Script]] = {"a/m": [GOOD], spec("b/m", price=cheap): [GOOD]}
    world = World(targets, budgets=(budget(limit=10 * COST),))
    short = chat(max_output_tokens=50)
    notices = [(await completed(world, chat=short)).notices for _ in range(8)]

    assert all(notice is not None for notice in notices)
    assert [notice.budgets[0].left_nano_usd for notice in notices if notice] == [n * COST for n in range(9, 1, -1)]
    assert [bool(notice.suggestion) for notice in notices if notice] == [False] * 7 + [True]
    last = notices[-1]
    assert last is not None
    assert last.suggestion is not None
    assert str(last.suggestion.target) == "b/m"


@in_virtual_time
async def test_without_budgets_there_are_no_notices() -> None:
    world = World({"a/m": [GOOD]})

    assert (await completed(world)).notices is None


@in_virtual_time
async def test_an_attempt_beyond_its_reservation_is_charged_in_full_and_blocks_what_follows() -> None:
    much = Usage(input_tokens=100, output_tokens=5000)
    world = World({"a/m": [answer("word", usage=much)]}, budgets=(budget(limit=NEEDED),))
    await world.stream(chat=DEAR_SHORT)

    assert sums(world) == (100 * 1000 + 5000 * 2000, 0)
    with pytest.raises(BudgetExhaustedError):
        await world.stream(chat=DEAR_SHORT)


@pytest.mark.parametrize("seed", range(3))
@in_virtual_time
async def test_three_hundred_calls_at_once_never_overspend_and_account_for_every_attempt(seed: int) -> None:
    """Answers, refusals, failures after content, cancels in mid-air and failovers, all in one budget."""
    rng = random.Random(seed)
    scripts: list[Script] = [
        GOOD,
        answer("word", usage=Usage(input_tokens=60, output_tokens=1000), first_after=2.0),
        [0.3, refused()],
        [0.2, fail(FailureKind.SERVER_ERROR)],
        [GOOD[0], GOOD[1], GOOD[2], fail(FailureKind.CONNECTION)],
    ]
    limit = 40 * NEEDED
    world = World(
        {name: [rng.choice(scripts) for _ in range(1000)] for name in ("a/m", "b/m", "c/m")},
        budgets=(budget(limit=limit, period=BudgetPeriod.TOTAL),),
    )
    outcomes: list[str] = []

    async def call() -> None:
        await asyncio.sleep(rng.random() * 10)
        try:
            async with asyncio.timeout(rng.choice((0.1, 1.0, 60.0))):
                await world.stream(chat=rng.choice((DEAR_SHORT, HELLO)))
        except TimeoutError:
            outcomes.append("cancelled")
        except BudgetExhaustedError:
            outcomes.append("refused")
        except (CallError, TurnoutError):
            outcomes.append("failed")
        else:
            outcomes.append("answered")

    async def watch() -> None:
        while len(outcomes) < 300:
            spent, reserved = sums(world)
            assert spent + reserved <= limit
            await asyncio.sleep(0.01)

    await asyncio.gather(watch(), *(call() for _ in range(300)))
    attempts = world.instruments.attempts

    assert sums(world) == (sum(record.cost_nano_usd or 0 for record in attempts), 0)
    assert {"cancelled", "refused", "answered"} <= set(outcomes)
