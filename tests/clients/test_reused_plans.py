"""What both clients send, and what they spare the sidecar, with plans that are used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver
from tests.clients.scripted_sidecar import Hang, Refusal, ScriptedSidecar, Serving
from turnout import AsyncClient, Client
from turnout.answer import target_name
from turnout.attempt import PlanAttempt
from turnout.errors import NoEligibleTargetError, PlanExhaustedError, UnreachableError
from turnout.v1 import router_pb2 as pb

TARGET = pb.Target(provider="openai", model="gpt")
OTHER = pb.Target(provider="anthropic", model="claude")
AWAY = Refusal(code=grpc.StatusCode.UNAVAILABLE, message="connection reset")


def plan_of(decision_id: str, *targets: pb.Target, reusable: bool = True) -> pb.RouteResponse:
    decision = pb.Decision(decision_id=decision_id, reusable=reusable)
    decision.valid_for.FromSeconds(3600)
    decision.candidates.extend(pb.Candidate(target=target) for target in targets)
    return pb.RouteResponse(decision=decision)


@pytest.fixture
def sidecar() -> Iterator[ScriptedSidecar]:
    scripted = ScriptedSidecar()
    with Serving(scripted):
        yield scripted


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, sidecar: ScriptedSidecar) -> AsyncIterator[Driver]:
    driver: Driver
    if request.param == "blocking":
        driver = BlockingDriver(Client(sidecar.address, fallback={"other": ["anthropic/claude"]}))
    else:
        driver = AsyncDriver(AsyncClient(sidecar.address, fallback={"other": ["anthropic/claude"]}))
    yield driver
    await driver.close()


def succeed(attempt: PlanAttempt) -> str:
    return attempt.target


def fail(attempt: PlanAttempt) -> str:
    raise ConnectionResetError(attempt.target)


async def test_calls_after_the_first_ask_nobody(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", plan_of("d-1", TARGET, OTHER))

    called = [await client.call(succeed, task="chat", input_tokens=9 - n) for n in range(5)]

    assert called == ["openai/gpt"] * 5
    assert sidecar.methods().count("Route") == 1
    assert await client.flush()
    outcomes = [each for call in sidecar.calls if call.method == "ReportOutcome" for each in call.request.outcomes]
    assert [outcome.decision_id for outcome in outcomes] == ["d-1"] * 5
    assert len({outcome.attempt_id for outcome in outcomes}) == 5


async def test_a_failure_is_reported_before_the_next_call_asks(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", plan_of("d-1", TARGET), plan_of("d-2", OTHER))

    with pytest.raises(PlanExhaustedError):
        await client.call(fail, task="chat")
    called = await client.call(succeed, task="chat")

    assert called == "anthropic/claude"
    assert sidecar.methods()[:3] == ["Route", "ReportOutcome", "Route"]
    assert sidecar.calls[1].request.outcomes[0].failure == pb.FAILURE_KIND_CONNECTION


async def test_a_failure_that_is_reported_by_hand_has_the_next_call_ask(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", plan_of("d-1", TARGET), plan_of("d-2", OTHER))
    await client.call(succeed, task="chat")

    await client.report(pb.Outcome(attempt_id="a", target=TARGET, failure=pb.FAILURE_KIND_TIMEOUT))

    assert await client.call(succeed, task="chat") == "anthropic/claude"


async def test_a_report_that_fails_does_not_keep_the_next_call_from_asking(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", plan_of("d-1", TARGET), plan_of("d-2", OTHER))
    sidecar.will("ReportOutcome", Refusal(code=grpc.StatusCode.INTERNAL, reason="BUG"))

    with pytest.raises(PlanExhaustedError):
        await client.call(fail, task="chat")

    assert await client.call(succeed, task="chat") == "anthropic/claude"


async def test_the_decision_is_asked_for_each_time_where_it_is_asked_for(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", *[plan_of("d-1", TARGET)] * 3)

    await client.plan(task="chat")
    for _ in range(2):
        await client.route(task="chat")

    assert sidecar.methods().count("Route") == 3


async def test_without_the_cache_every_call_asks(sidecar: ScriptedSidecar) -> None:
    sidecar.will("Route", *[plan_of("d-1", TARGET)] * 3)

    with Client(sidecar.address, plan_cache=False) as client:
        for _ in range(3):
            await asyncio.to_thread(client.call, succeed, task="chat")

    assert sidecar.methods().count("Route") == 3


async def test_without_an_answer_the_last_plan_is_used_and_says_why(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", plan_of("d-1", TARGET, OTHER, reusable=False), AWAY)
    await client.call(succeed, task="chat")

    stale = await client.plan(task="chat")

    assert stale.stale
    assert not stale.reused
    assert "connection reset" in stale.stale_reason
    assert [target_name(candidate.target) for candidate in stale.candidates] == ["openai/gpt", "anthropic/claude"]
    # Neither tried again nor asked again within the pause: it is there, and a plan is all that was wanted.
    assert (await client.plan(task="chat")).stale
    assert sidecar.methods().count("Route") == 2


async def test_a_silent_sidecar_is_waited_for_a_second_where_there_is_a_plan(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", Hang())

    stale = await client.plan(task="other")

    assert (stale.stale, stale.decision_id) == (True, "")
    assert [target_name(candidate.target) for candidate in stale.candidates] == ["anthropic/claude"]
    remaining = sidecar.calls[0].remaining_seconds
    assert remaining is not None
    # Less than the usual 2 s; gRPC rounds up what it tells the other side.
    assert remaining <= 1.5


async def test_with_nothing_to_fall_back_on_the_error_comes_out_after_the_usual_tries(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", *[AWAY] * 4)

    with pytest.raises(UnreachableError):
        await client.plan(task="chat")

    assert sidecar.methods() == ["Route"] * 4


async def test_a_refusal_comes_out_whatever_there_is_to_fall_back_on(sidecar: ScriptedSidecar, client: Driver) -> None:
    refusal = Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="NO_ELIGIBLE_TARGET")
    sidecar.will("Route", plan_of("d-1", TARGET, reusable=False), refusal)
    await client.plan(task="chat")

    with pytest.raises(NoEligibleTargetError):
        await client.plan(task="chat")


async def test_a_wrong_timeout_is_refused_by_name(client: Driver) -> None:
    with pytest.raises(ValueError, match="timeout_seconds is -1"):
        await client.plan(task="chat", timeout_seconds=-1)
