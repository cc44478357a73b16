"""Of callers who want the same plan at the same time one asks; the others wait, and nobody pays for another's fate."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver
from tests.clients.scripted_sidecar import ReceivedCall, Refusal, ScriptedSidecar, Serving
from turnout import AsyncClient, Client
from turnout.answer import target_name
from turnout.asking import MAX_WAIT_COUNT, Asking
from turnout.errors import (
    DeadlineError,
    ErrorDetails,
    NoEligibleTargetError,
    TransportError,
    TurnoutError,
    UnreachableError,
)
from turnout.fallback import Fallback, StaticOrder
from turnout.planning import Choice, Planner
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60.0
CALLER_COUNT = 4
"""Less than the scripted sidecar serves at one time, and than there are threads for blocking callers and one more."""

FAILED = pb.Outcome(target=pb.Target(provider="a", model="m"), failure=pb.FAILURE_KIND_OVERLOADED)
REFUSED = NoEligibleTargetError("none", ErrorDetails(reason="NO_ELIGIBLE_TARGET"))
AWAY = UnreachableError("refused", ErrorDetails(code=grpc.StatusCode.UNAVAILABLE))
LATE = DeadlineError("late", ErrorDetails(code=grpc.StatusCode.DEADLINE_EXCEEDED))


def planner(fallback: Fallback | None = None, *, caching: bool = True) -> Planner:
    return Planner(caching=caching, fallback=StaticOrder(fallback), rng=random.Random(1))


def decision(*names: str, decision_id: str = "d", reusable: bool = True, valid_seconds: int = 3600) -> pb.Decision:
    made = pb.Decision(decision_id=decision_id, reusable=reusable)
    made.valid_for.FromSeconds(valid_seconds)
    for name in names or ("a", "b"):
        made.candidates.add(target=pb.Target(provider=name, model="m"), share=0.5)
    return made


def request(task: str = "chat", input_tokens: int | None = None) -> pb.RouteRequest:
    return pb.RouteRequest(profile=pb.RequestProfile(task=task, input_tokens=input_tokens))


def ask(plans: Planner, now: float = 0.0, seconds: float = 2.0, **wish: Any) -> Asking:
    found = plans.start(request(**wish), now, seconds)
    assert isinstance(found, Asking)
    found.sent_at = now
    return found


def again(plans: Planner, asking: Asking, now: float) -> Asking:
    found = plans.again(asking, now)
    assert isinstance(found, Asking)
    return found


def answer(plans: Planner, asking: Asking, made: pb.Decision, now: float = 0.0) -> None:
    plans.answered(asking, made, now)
    plans.end(asking)


def test_an_equal_question_waits_and_is_served_by_the_answer_as_a_plan_that_is_used_again() -> None:
    plans = planner()
    leader = ask(plans)
    waiting = [ask(plans, 0.1) for _ in range(100)]

    answer(plans, leader, decision(), 0.2)
    served = [plans.again(each, 0.2) for each in waiting]

    assert {each.waits_for for each in waiting} == {leader}
    assert leader.ended.done()
    firsts = [target_name(each.candidates[0].target) for each in served if isinstance(each, Choice) and each.reused]
    assert len(firsts) == 100
    assert set(firsts) == {"a/m", "b/m"}


@pytest.mark.parametrize(
    ("wish", "joined"),
    [
        ({"input_tokens": 10}, True),
        ({"input_tokens": 9}, True),
        ({"input_tokens": 11}, False),
        ({}, False),
        ({"input_tokens": 10, "task": "other"}, False),
    ],
    ids=["equal", "fewer tokens", "more tokens", "unknown tokens", "another task"],
)
def test_only_a_question_whose_plan_would_serve_is_waited_for(wish: dict[str, Any], *, joined: bool) -> None:
    plans = planner()
    leader = ask(plans, input_tokens=10)

    assert ask(plans, **wish).waits_for is (leader if joined else None)


def test_a_question_for_more_tokens_is_what_later_callers_wait_for() -> None:
    plans = planner()
    small, large = ask(plans, input_tokens=10), ask(plans, input_tokens=20)

    plans.end(small)

    assert ask(plans, input_tokens=15).waits_for is large


def test_without_a_cache_everybody_asks_for_himself() -> None:
    plans = planner(caching=False)
    ask(plans)

    assert ask(plans).waits_for is None


def test_what_serves_its_asker_alone_is_waited_for_once_and_then_asked_for_by_all_at_once() -> None:
    plans = planner()
    leader = ask(plans)
    waiting = [ask(plans) for _ in range(3)]

    answer(plans, leader, decision(reusable=False))

    assert [again(plans, each, 0.1).waits_for for each in waiting] == [None] * 3
    # From now on it is known, and nobody waits in vain.
    assert ask(plans).waits_for is None


def test_after_a_plan_that_may_be_used_again_callers_wait_again() -> None:
    plans = planner()
    answer(plans, ask(plans), decision(reusable=False))
    answer(plans, ask(plans), decision(valid_seconds=1), 0.0)
    leader = ask(plans, 5.0)

    assert ask(plans, 5.0).waits_for is leader


@pytest.mark.parametrize("error", [REFUSED, AWAY], ids=["refused", "away with nothing to fall back on"])
def test_an_error_is_its_askers_alone(error: TurnoutError) -> None:
    plans = planner()
    leader = ask(plans)
    waiting = [ask(plans) for _ in range(3)]

    assert plans.failed(leader, error, 0.1) is None
    plans.end(leader)

    assert [again(plans, each, 0.1).waits_for for each in waiting] == [None] * 3


def test_who_finds_the_sidecar_away_finds_it_for_those_who_have_something_to_fall_back_on() -> None:
    plans = planner(["c/m"])
    leader, waiting = ask(plans), ask(plans)

    plans.failed(leader, AWAY, 0.1)
    plans.end(leader)
    stale = plans.again(waiting, 0.1)

    assert waiting.waits_for is leader
    assert isinstance(stale, Choice)
    assert stale.stale_reason


def test_where_the_leader_goes_away_one_takes_over_and_the_others_wait_for_him() -> None:
    plans = planner()
    leader = ask(plans)
    waiting = [ask(plans) for _ in range(3)]

    plans.end(leader)  # cancelled: neither answered nor failed
    heir, *others = [again(plans, each, 0.1) for each in waiting]

    assert heir.waits_for is None
    assert {each.waits_for for each in others} == {heir}


def test_a_failure_after_the_question_was_put_voids_the_answer_for_those_who_wait() -> None:
    plans = planner()
    leader = ask(plans)
    plans.noted([FAILED], 0.1)
    later = [ask(plans, 0.2), ask(plans, 0.2)]

    answer(plans, leader, decision(), 0.3)
    asks, waits = [again(plans, each, 0.3) for each in later]

    # The next question is from after the failure: its answer holds for both.
    assert {each.waited_count for each in later} == {1, 2}
    assert waits.waits_for is asks
    answer(plans, asks, decision(decision_id="after"), 0.4)
    served = plans.again(waits, 0.4)
    assert isinstance(served, Choice)
    assert served.decision.decision_id == "after"


def test_a_failure_of_a_target_that_the_answer_does_not_list_voids_nothing() -> None:
    plans = planner()
    leader = ask(plans)
    plans.noted([FAILED], 0.1)
    waiting = ask(plans, 0.2)

    answer(plans, leader, decision("b"), 0.3)

    assert isinstance(plans.again(waiting, 0.3), Choice)


def test_nobody_waits_longer_than_half_of_his_time_nor_for_who_has_less() -> None:
    plans = planner()
    leader = ask(plans, 0.0, 2.0)

    waiting = ask(plans, 0.5, 3.0)
    patient = ask(plans, 0.5, 3.5)

    assert (waiting.waits_for, waiting.wait_until, waiting.ends_at) == (leader, 2.0, 3.5)
    # The leader's time is over before half of this one's is: he asks, and the next wait for him.
    assert patient.waits_for is None
    assert ask(plans, 0.5, 3.0).waits_for is patient


def test_after_half_of_the_time_one_takes_over_from_who_hears_nothing() -> None:
    plans = planner()
    leader = ask(plans)
    waiting = [ask(plans) for _ in range(3)]

    heir, *others = [again(plans, each, 1.0) for each in waiting]

    assert not leader.ended.done()
    assert heir.waits_for is None
    assert {(each.waits_for, each.wait_until) for each in others} == {(heir, 1.5)}
    # Who has waited twice asks, whoever else does.
    assert [each.waited_count for each in others] == [MAX_WAIT_COUNT] * 2
    assert [again(plans, each, 1.5).waits_for for each in others] == [None] * 2


def test_a_question_with_something_to_fall_back_on_waits_within_its_second() -> None:
    plans = planner(["c/m"])
    ask(plans, 0.0, 60.0)

    waiting = ask(plans, 0.25, 60.0)

    assert (waiting.wait_until, waiting.ends_at) == (0.75, 1.25)


@pytest.mark.parametrize("fallback", [None, ["c/m"]], ids=["nothing to fall back on", "a fallback"])
def test_who_asked_in_what_was_left_and_came_too_late_follows_the_answer_that_another_had(
    fallback: Fallback | None,
) -> None:
    plans = planner(fallback)
    leader, heir = ask(plans, 0.0, 1.0), ask(plans, 0.0, 1.0)
    again(plans, heir, 0.5)

    answer(plans, leader, decision(), 0.6)
    found = plans.failed(heir, LATE, 1.0)
    plans.end(heir)

    assert isinstance(found, Choice)
    assert (found.reused, found.stale_reason) == (True, "")
    # The sidecar answered: it is away for nobody.
    assert not ask(plans, 1.0, task="other").alone


def test_nothing_is_kept_of_questions_that_have_ended() -> None:
    plans = planner()
    askings = [ask(plans, input_tokens=count) for count in range(20)]
    askings += [ask(plans, task=f"t{number}") for number in range(20)]

    for each in askings:
        plans.end(each)

    assert len(plans._questions) == 0


class GatedSidecar(ScriptedSidecar):
    """Lets no Route be answered before the gate is open; `arrived` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def _receive(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        super()._receive(method, request, context)
        if method == "Route":
            while context.is_active() and not self.gate.wait(0.01):
                pass

    def routes(self) -> list[ReceivedCall]:
        return [call for call in self.calls if call.method == "Route"]


async def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + GENEROUS_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, "it did not come about"
        await asyncio.sleep(0.005)


@pytest.fixture
def sidecar() -> Iterator[GatedSidecar]:
    gated = GatedSidecar()
    with Serving(gated):
        yield gated
        gated.gate.set()


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, sidecar: GatedSidecar) -> AsyncIterator[Driver]:
    blocking = request.param == "blocking"
    driver: Driver = BlockingDriver(Client(sidecar.address)) if blocking else AsyncDriver(AsyncClient(sidecar.address))
    yield driver
    await driver.close()


def plan_of(client: Driver, **settings: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.plan(task="chat", timeout_seconds=GENEROUS_SECONDS, **settings))


def asks(sidecar: GatedSidecar, count: int) -> Callable[[], bool]:
    return lambda: len(sidecar.routes()) >= count


async def test_many_callers_at_once_make_one_route(sidecar: GatedSidecar, client: Driver) -> None:
    sidecar.will("Route", pb.RouteResponse(decision=decision()))

    tasks = [plan_of(client) for _ in range(CALLER_COUNT)]
    await until(asks(sidecar, 1))
    sidecar.gate.set()
    plans = await asyncio.gather(*tasks)

    assert len(sidecar.routes()) == 1
    assert sorted(plan.reused for plan in plans) == [False] + [True] * (CALLER_COUNT - 1)
    assert {plan.decision_id for plan in plans} == {"d"}


async def test_who_has_no_end_of_time_waits_as_others_do(sidecar: GatedSidecar, client: Driver) -> None:
    sidecar.will("Route", pb.RouteResponse(decision=decision()))

    tasks = [asyncio.create_task(client.plan(task="chat", timeout_seconds=math.inf)) for _ in range(CALLER_COUNT)]
    await until(asks(sidecar, 1))
    sidecar.gate.set()
    plans = await asyncio.gather(*tasks)

    assert len(sidecar.routes()) == 1
    assert sorted(plan.reused for plan in plans) == [False] + [True] * (CALLER_COUNT - 1)


async def test_a_plan_for_one_alone_is_asked_for_by_each(sidecar: GatedSidecar, client: Driver) -> None:
    sidecar.will("Route", *[pb.RouteResponse(decision=decision(reusable=False))] * CALLER_COUNT)

    tasks = [plan_of(client) for _ in range(CALLER_COUNT)]
    await until(asks(sidecar, 1))
    sidecar.gate.set()
    plans = await asyncio.gather(*tasks)

    assert len(sidecar.routes()) == CALLER_COUNT
    assert not any(plan.reused for plan in plans)


async def test_a_refusal_reaches_each_by_his_own_question(sidecar: GatedSidecar, client: Driver) -> None:
    refusal = Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="NO_ELIGIBLE_TARGET")
    sidecar.will("Route", refusal, *[pb.RouteResponse(decision=decision())] * CALLER_COUNT)

    tasks = [plan_of(client) for _ in range(CALLER_COUNT)]
    await until(asks(sidecar, 1))
    sidecar.gate.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(end) for end in ends if isinstance(end, BaseException)] == [NoEligibleTargetError]


async def test_when_the_leader_is_cancelled_the_others_have_their_plan(sidecar: GatedSidecar) -> None:
    sidecar.will("Route", *[pb.RouteResponse(decision=decision())] * 2)
    async with AsyncClient(sidecar.address) as client:
        driver = AsyncDriver(client)
        leader = plan_of(driver)
        await until(asks(sidecar, 1))
        waiting = [plan_of(driver) for _ in range(CALLER_COUNT)]
        await asyncio.sleep(0)

        leader.cancel()
        # One takes over: he is heard while the gate is still closed.
        await until(asks(sidecar, 2))
        sidecar.gate.set()
        plans = await asyncio.gather(*waiting)

        assert leader.cancelled()
        assert {plan.decision_id for plan in plans} == {"d"}
        assert len(sidecar.routes()) == 2
        assert len(client._planner._questions) == 0


async def test_a_cancelled_waiter_leaves_the_leader_alone(sidecar: GatedSidecar) -> None:
    sidecar.will("Route", pb.RouteResponse(decision=decision()))
    async with AsyncClient(sidecar.address) as client:
        leader = plan_of(AsyncDriver(client))
        await until(asks(sidecar, 1))
        waiting = plan_of(AsyncDriver(client))
        await asyncio.sleep(0)

        waiting.cancel()
        await asyncio.wait({waiting}, timeout=GENEROUS_SECONDS)
        sidecar.gate.set()

        assert waiting.cancelled()
        assert (await leader).decision_id == "d"


async def test_closing_the_client_ends_everybodys_wait(sidecar: GatedSidecar, client: Driver) -> None:
    tasks = [plan_of(client) for _ in range(CALLER_COUNT)]
    await until(asks(sidecar, 1))

    await client.close()
    done, pending = await asyncio.wait(tasks, timeout=GENEROUS_SECONDS)

    assert not pending
    assert [type(task.exception()) for task in done] == [TransportError] * CALLER_COUNT
