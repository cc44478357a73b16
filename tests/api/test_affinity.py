"""A sticky key and a session through the real server: calls of one conversation stay where its prompt is cached."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from tests.api.sidecar import HELLO, Script, Sidecar, failing, running, spec
from turnout.v1 import router_pb2 as pb
from turnout_server.core.chat import Finished, ResponseStarted, TextDelta, UsageReported
from turnout_server.core.fleet import Price
from turnout_server.core.model import Capability, FailureKind, FinishReason, Usage
from turnout_server.ports import ResponseHead

PRICE = Price(input_per_million=10**9, output_per_million=2 * 10**9, cached_input_per_million=10**8)
NAMES = ("alpha/large", "beta/large")
TWINS = tuple(
    dataclasses.replace(
        spec(name.partition("/")[0], "large"),
        price=PRICE,
        capabilities=spec("a", "b").capabilities | {Capability.PROMPT_CACHING},
    )
    for name in NAMES
)
CALLS = 100


def caching(cached_tokens: int) -> Script:
    """An answer that says how much of a prompt of 1,000 tokens was cached."""
    usage = Usage(input_tokens=1000, output_tokens=5, cached_input_tokens=cached_tokens)
    return (
        (ResponseHead(http_status=200), ResponseStarted(model="m-1", response_id="r-1")),
        (TextDelta(part_index=0, text="Hello"),),
        (UsageReported(usage=usage), Finished(reason=FinishReason.STOP)),
    )


DOWN: Script = (failing(FailureKind.OVERLOADED, status=529),)


async def execute(sidecar: Sidecar, key: str = "", session: str = "") -> pb.ExecuteResponse:
    # By availability both are near-equal whatever the machine's noise: without a key, chance decides.
    options = pb.RoutingOptions(sticky_key=key, strategy=pb.STRATEGY_AVAILABILITY)
    request = pb.ExecuteRequest(input=HELLO, options=options, session_id=session)
    return await sidecar.stub.Execute(request, timeout=60)


async def targets(sidecar: Sidecar, count: int, key: str = "", session: str = "") -> Counter[str]:
    """Which provider answered how many of so many calls."""
    return Counter([(await execute(sidecar, key, session)).target.provider for _ in range(count)])


async def test_a_hundred_calls_of_a_key_stay_at_one_target_and_move_once_when_it_dies() -> None:
    scripts = dict.fromkeys(NAMES, caching(800))
    async with running(specs=TWINS, scripts=scripts) as sidecar:
        without = await targets(sidecar, CALLS)
        (home,) = await targets(sidecar, CALLS, key="conversation")
        other = "beta" if home == "alpha" else "alpha"
        sidecar.upstream.scripts[f"{home}/large"] = DOWN
        moved = await targets(sidecar, CALLS, key="conversation")
        sidecar.upstream.scripts[f"{home}/large"] = caching(0)
        stayed = await targets(sidecar, CALLS, key="conversation")

    # Without a key both are used.
    assert set(without) == {"alpha", "beta"}
    assert moved == {other: CALLS}
    # What works again is not better by a fifth, and has nothing cached.
    assert stayed == {other: CALLS}


@pytest.mark.parametrize(("quality", "home"), [(80.0, "alpha"), (50.0, "beta")])
async def test_a_key_comes_back_to_what_died_only_where_that_is_better_by_more_than_a_fifth(
    quality: float, home: str
) -> None:
    alpha, beta = (dataclasses.replace(each, quality=own) for each, own in zip(TWINS, (quality, 90.0), strict=True))
    scripts = {"alpha/large": DOWN, "beta/large": caching(800)}

    async def by_quality() -> str:
        options = pb.RoutingOptions(sticky_key="k", strategy=pb.STRATEGY_QUALITY)
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)
        return answer.target.provider

    async with running(specs=(alpha, beta), scripts=scripts) as sidecar:
        began = await by_quality()
        sidecar.upstream.scripts |= {"alpha/large": caching(800), "beta/large": DOWN}
        moved = await by_quality()
        sidecar.upstream.scripts["beta/large"] = caching(800)
        after = {await by_quality() for _ in range(5)}

    assert (began, moved, after) == ("beta", "alpha", {home})


async def test_sessions_stay_each_where_it_began() -> None:
    async with running(specs=TWINS, scripts=dict.fromkeys(NAMES, caching(500))) as sidecar:
        homes = {f"s-{n}": await targets(sidecar, 5, session=f"s-{n}") for n in range(20)}

    assert all(len(home) == 1 for home in homes.values())
    assert len({next(iter(home)) for home in homes.values()}) == 2


async def test_what_is_cached_lowers_the_expected_cost_as_answers_told() -> None:
    async with running(specs=TWINS, scripts=dict.fromkeys(NAMES, caching(1000))) as sidecar:
        home = (await execute(sidecar, "k")).target
        for _ in range(12):
            await execute(sidecar, "k")
        profile = pb.RequestProfile(input_tokens=100_000, max_output_tokens=1)
        asked = pb.RouteRequest(profile=profile, options=pb.RoutingOptions(sticky_key="k"))
        decision = (await sidecar.stub.Route(asked, timeout=60)).decision

    first, second = decision.candidates
    assert (first.target, first.reason) == (home, "kept: it answered this key last")
    assert first.factors["cached_share"] > 0.999
    # A tenth of the price for what is cached.
    assert 0.0099 < first.expected_cost_usd < 0.0102
    assert 0.1 <= second.expected_cost_usd < 0.1001
    assert "kept: it answered this key last" in decision.reason


async def test_reports_of_a_plan_keep_its_key_where_the_caller_went() -> None:
    async with running(specs=TWINS) as sidecar:
        asked = pb.RouteRequest(options=pb.RoutingOptions(sticky_key="k"), caller=pb.Caller(tenant="acme"))
        decision = (await sidecar.stub.Route(asked, timeout=60)).decision
        second = decision.candidates[1].target
        outcome = pb.Outcome(decision_id=decision.decision_id, attempt_id="a-1", target=second, ok=True)
        await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=60)
        plans = [(await sidecar.stub.Route(asked, timeout=60)).decision for _ in range(20)]
        asked.caller.tenant = "other"
        others = [(await sidecar.stub.Route(asked, timeout=60)).decision for _ in range(20)]

    assert [plan.candidates[0].target for plan in plans] == [second] * 20
    assert {plan.candidates[0].share for plan in plans} == {1.0}
    assert len({plan.candidates[0].target.provider for plan in others}) == 2
