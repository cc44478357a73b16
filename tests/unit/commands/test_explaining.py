"""What `turnout explain` prints, situation by situation, line by line: the texts stand in `explained/`.

Where a text changes on purpose, write what the assertion shows into its file, and read it as an operator would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.execution.scripted import World, answer, chat, fail, refused, spec
from tests.virtual_time import in_virtual_time
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.api.answers import Answers
from turnout_server.api.decision_records import decision_record
from turnout_server.commands.explaining import explanation
from turnout_server.core.errors import TurnoutError
from turnout_server.core.model import (
    Caller,
    Capability,
    FailureKind,
    Feedback,
    Outcome,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import CacheSettings, Policy
from turnout_server.execution.answering import Answering

EXPLAINED = Path(__file__).parent / "explained"
USAGE = Usage(input_tokens=120, output_tokens=340, cached_input_tokens=20)
A, B = Target("a", "m"), Target("b", "m")
CALLER = Caller(tenant="acme", user="u-7", labels={"team": "search"})


def query(strategy: Strategy = Strategy.PRIORITY, **facts: object) -> RouteQuery:
    return RouteQuery(
        profile=RequestProfile(task="chat"),
        options=RoutingOptions(strategy=strategy),
        caller=CALLER,
        deadline_seconds=300.0,
        request_id="r-1",
        **facts,  # type: ignore[arg-type]  # tests name fields
    )


def explained(world: World, decision_id: str) -> str:
    return explanation(decision_record(world.router.looking_back.decision(decision_id), Answers()))


async def happy() -> str:
    """Three near-equals, among which chance decides."""
    world = World({"a/m": [answer("fine", usage=USAGE)], "b/m": [answer("fine", usage=USAGE)], "c/m": [answer("no")]})
    result = await world.executor.execute(query(Strategy.HYBRID), chat("Why is the sky blue?"))
    return explained(world, result.decision.decision_id)


async def failover() -> str:
    """A refusal that is not billed, a failure that may be, then an answer; one target cannot do it at all."""
    small = spec("d/tiny", context_window_tokens=100)
    world = World(
        {
            "a/m": [[refused(FailureKind.RATE_LIMITED, http_status=429, retry_after_seconds=30.0)]],
            "b/m": [[0.5, fail(FailureKind.OVERLOADED, http_status=529)]],
            "c/m": [answer("fine", usage=USAGE)],
            small: [answer("never")],
        }
    )
    result = await world.executor.execute(query(), chat("Why is the sky blue?" * 20))
    return explained(world, result.decision.decision_id)


async def all_rejected() -> str:
    """None can do it: each with all its reasons."""
    world = World({"a/m": [answer("never")], spec("b/m", quality=None, price=None): [answer("never")]})
    wanted = query()
    options = RoutingOptions(min_quality=90.0, max_cost_usd=0.000001)
    profile = RequestProfile(task="chat", input_tokens=5000, capabilities=frozenset({Capability.AUDIO}))
    with pytest.raises(TurnoutError) as caught:
        world.router.deciding.route(RouteQuery(profile=profile, options=options, caller=wanted.caller))
    return explained(world, caught.value.decision_id)


async def half_open_trial() -> str:
    """The first target's breaker is half-open, and this plan holds its one trial; the other one is drained."""
    world = World({"a/m": [answer("fine")], "b/m": [answer("fine")]})
    for number in range(3):
        plan = world.router.deciding.route(query())
        report(world, plan.decision_id, f"x{number}", FailureKind.SERVER_ERROR)
        await asyncio.sleep(1.0)
    await asyncio.sleep(10.0)
    world.router.state.set_drained(1, drained=True)
    return explained(world, world.router.deciding.route(query()).decision_id)


async def advised() -> str:
    """A plan whose caller reports one failure and one answer, and judges the answer."""
    world = World({"a/m": [answer("fine")], "b/m": [answer("fine")]})
    plan = world.router.deciding.route(
        RouteQuery(profile=RequestProfile(task="planning", input_tokens=100), caller=Caller(tier="pro"))
    )
    report(world, plan.decision_id, "one", FailureKind.SERVER_ERROR)
    report(world, plan.decision_id, "two", None, target=B, usage=USAGE, session_id="s-1")
    world.router.reports.take([], [Feedback(decision_id=plan.decision_id, attempt_id="two", quality=0.75)])
    return explained(world, plan.decision_id)


def report(
    world: World,
    decision_id: str,
    attempt_id: str,
    failure: FailureKind | None,
    target: Target = A,
    **facts: object,
) -> None:
    outcome = Outcome(
        target=target,
        failure=failure,
        decision_id=decision_id,
        attempt_id=attempt_id,
        reported=True,
        credential="theirs",
        http_status=200 if failure is None else 500,
        latency_seconds=2.0,
        **facts,  # type: ignore[arg-type]  # tests name fields
    )
    world.router.reports.take([outcome], [])


async def hedged() -> str:
    """A first that is late, and then quicker than the second after all; the second is let go."""
    late = answer("fine", usage=USAGE, first_after=1.8)
    world = World({"a/m": [late], "b/m": [answer("never")]}, policy=Policy(hedge=True))
    result = await world.executor.execute(query(), chat("Why is the sky blue?"))
    return explained(world, result.decision.decision_id)


async def kept() -> str:
    """An answer that an equal request got a while ago."""
    world = World({"a/m": [answer("fine", usage=USAGE)], "b/m": [answer("no")]}, policy=Policy(cache=CacheSettings()))
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    cold, plain = chat("Why is the sky blue?", temperature=0.0), replace(query(), request_id="")
    await answering.execute(plain, cold, principal="")
    await asyncio.sleep(30.0)
    result = await answering.execute(plain, cold, principal="")
    return explained(world, result.decision.decision_id)


SITUATIONS: dict[str, Callable[[], Awaitable[str]]] = {
    "happy": happy,
    "failover": failover,
    "hedged": hedged,
    "kept": kept,
    "all_rejected": all_rejected,
    "half_open_trial": half_open_trial,
    "advised": advised,
}


@pytest.mark.parametrize("name", SITUATIONS)
@in_virtual_time
async def test_decision_is_explained_in_full(name: str) -> None:
    text = await SITUATIONS[name]()
    known = (EXPLAINED / f"{name}.txt").read_text(encoding="utf-8")

    assert known == text + "\n"


def test_of_many_among_whom_chance_decided_the_first_are_named() -> None:
    drawn = [
        router_pb2.Candidate(target=router_pb2.Target(provider="p", model=f"m{number}"), share=1 / 400)
        for number in range(400)
    ]
    text = explanation(admin_pb2.DecisionRecord(decision=router_pb2.Decision(candidates=drawn)))

    (line,) = (line for line in text.splitlines() if line.startswith("chance"))
    assert line.startswith("chance    decided among 400: p/m0 0%, ")
    assert line.endswith(" and 390 more")


def test_every_text_has_its_situation() -> None:
    assert {path.stem for path in EXPLAINED.iterdir()} == set(SITUATIONS)
