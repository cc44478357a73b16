"""Shadow policies and what selects a policy, through the real server with a real file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.administration.administered import (
    ADMIN_KEY,
    AS_CALLER,
    Administered,
    administered,
    refused,
    violations,
    written,
)
from tests.reloading.following import LONG_SECONDS
from turnout import AsyncClient, Client
from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

NORTH_FIRST, SOUTH_FIRST = (
    "{strategy: PRIORITY, shadow_policy: other}",
    "{strategy: PRIORITY, preferences: [south/small]}",
)
POLICIES = f", routing: {{policies: {{default: {NORTH_FIRST}, other: {SOUTH_FIRST}}}}}"


async def route(sidecar: Administered, **options: Any) -> router_pb2.Decision:
    request = router_pb2.RouteRequest(
        options=router_pb2.RoutingOptions(**options), profile=router_pb2.RequestProfile(input_tokens=1000)
    )
    return (await sidecar.stub.Route(request, timeout=LONG_SECONDS, metadata=AS_CALLER)).decision


async def listed(sidecar: Administered, **asked: Any) -> pb.ListShadowDifferencesResponse:
    return await sidecar.call(sidecar.admin.ListShadowDifferences, pb.ListShadowDifferencesRequest(**asked))


async def compared(sidecar: Administered, count: int) -> pb.ListShadowDifferencesResponse:
    """Waits until shadows have been asked about so many decisions."""
    async with asyncio.timeout(LONG_SECONDS):
        while True:
            answer = await listed(sidecar)
            if sum(tally.agreed_count + tally.differed_count for tally in answer.tallies) >= count:
                return answer
            await asyncio.sleep(0.005)


async def record(sidecar: Administered, decision: router_pb2.Decision) -> pb.DecisionRecord:
    request = pb.GetDecisionRequest(decision_id=decision.decision_id)
    return (await sidecar.call(sidecar.admin.GetDecision, request)).decision


async def test_a_difference_is_listed_with_both_choices_and_reasons(tmp_path: Path) -> None:
    async with administered(tmp_path, written(more=POLICIES)) as sidecar:
        made = await route(sidecar, policy="")
        answer = await compared(sidecar, 1)
        kept = await record(sidecar, made)
    (difference,) = answer.differences

    assert (difference.decision_id, difference.time) == (made.decision_id, made.decided_at)
    assert (difference.policy, difference.shadow_policy) == ("default", "other")
    assert (target_name(difference.chosen), target_name(difference.shadow_chosen)) == ("north/small", "south/small")
    assert difference.score == made.candidates[0].score > 0
    assert 0 < difference.shadow_score < difference.score
    assert difference.reason == made.reason
    assert difference.shadow_reason.startswith("PRIORITY (policy other): south/small")
    # Both cost the same and should take as long.
    assert difference.cost_difference_usd == 0.0
    assert difference.latency_difference_seconds == 0.0
    assert list(answer.tallies) == [pb.ShadowTally(policy="default", shadow_policy="other", differed_count=1)]
    assert target_name(kept.shadow.shadow_chosen) == "south/small"
    assert (kept.shadow.reason, kept.shadow.shadow_reason) == ("", "")


async def test_the_difference_is_what_the_other_would_cost_and_take_more(tmp_path: Path) -> None:
    dear = "dear: {wire: openai, base_url: 'http://127.0.0.1:9/v1', allow_insecure: true, allow_private: true, models: "
    dear += "[{name: m, context_window_tokens: 100000, max_output_tokens: 500, latency_prior_seconds: 3, quality: 90, "
    dear += "price: {input_per_million_usd: 100, output_per_million_usd: 200}}]}"
    cheap = dear.replace("dear:", "cheap:").replace("100, output_per_million_usd: 200", "1, output_per_million_usd: 2")
    cheap = cheap.replace("seconds: 3", "seconds: 1")
    policies = ", routing: {policies: {default: {preferences: [dear/m], shadow_policy: c}, c: {strategy: COST}}}"
    async with administered(tmp_path, written(dear, cheap, more=policies)) as sidecar:
        made = await route(sidecar)
        answer = await compared(sidecar, 1)
    (difference,) = answer.differences
    costs = {target_name(each.target): each.expected_cost_usd for each in made.candidates}
    seconds = {target_name(each.target): each.expected_latency.ToNanoseconds() / 1e9 for each in made.candidates}

    assert difference.cost_difference_usd == pytest.approx(costs["cheap/m"] - costs["dear/m"], rel=1e-6)
    assert difference.cost_difference_usd < 0
    assert difference.latency_difference_seconds == pytest.approx(seconds["cheap/m"] - seconds["dear/m"], abs=1e-6)
    assert difference.latency_difference_seconds < -1.9


async def test_what_agrees_is_counted_and_not_listed(tmp_path: Path) -> None:
    async with administered(tmp_path, written(more=POLICIES)) as sidecar:
        made = await route(sidecar, force_target="north/small")
        await route(sidecar)
        answer = await compared(sidecar, 2)
        kept = await record(sidecar, made)

    assert [(tally.agreed_count, tally.differed_count) for tally in answer.tallies] == [(1, 1)]
    assert [each.decision_id for each in answer.differences] != [made.decision_id]
    assert kept.shadow.chosen == kept.shadow.shadow_chosen == made.candidates[0].target


async def test_a_call_is_compared_once_however_often_it_fails_over(tmp_path: Path) -> None:
    # Nobody listens at port 9: the call goes to both and fails.
    async with administered(tmp_path, written(more=POLICIES)) as sidecar:
        request = router_pb2.ExecuteRequest(
            input=router_pb2.ChatInput(
                messages=[router_pb2.Message(role=router_pb2.ROLE_USER, parts=[router_pb2.Part(text="Hi")])]
            )
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Execute(request, timeout=LONG_SECONDS, metadata=AS_CALLER)
        made = await route(sidecar)
        answer = await compared(sidecar, 2)

    assert sum(tally.agreed_count + tally.differed_count for tally in answer.tallies) == 2
    assert answer.differences[0].decision_id == made.decision_id


async def test_a_shadow_that_would_find_nobody_and_one_that_refuses_say_so(tmp_path: Path) -> None:
    policies = "default: {strategy: PRIORITY, shadow_policy: strict}, strict: {limits: {min_quality: 99}}"
    regional = "held: {strategy: PRIORITY, shadow_policy: elsewhere}, elsewhere: {regions: [mars]}"
    more = f", routing: {{policies: {{{policies}, {regional}}}}}"
    here = "home: {wire: openai, base_url: 'http://127.0.0.1:9/v1', allow_insecure: true, allow_private: true, "
    here += "region: venus, models: [{name: m, quality: 80}]}"
    async with administered(tmp_path, written(here, more=more)) as sidecar:
        await route(sidecar)
        await route(sidecar, policy="held", regions=["venus"])
        answer = await compared(sidecar, 2)
    refusing, strict = answer.differences

    assert [each.HasField("shadow_chosen") for each in answer.differences] == [False, False]
    assert [each.HasField("cost_difference_usd") for each in answer.differences] == [False, False]
    assert "no candidate; 1 of 1 targets rejected (1 QUALITY)" in strict.shadow_reason
    assert "mars" in refusing.shadow_reason


async def test_pages_follow_each_other_and_a_policy_can_be_asked_for(tmp_path: Path) -> None:
    more = f", routing: {{policies: {{default: {NORTH_FIRST}, quick: {NORTH_FIRST}, other: {SOUTH_FIRST}}}}}"
    async with administered(tmp_path, written(more=more)) as sidecar:
        made = [(await route(sidecar, policy=name)).decision_id for name in ("default", "quick", "default", "default")]
        await compared(sidecar, 4)
        first = await listed(sidecar, page_size=3)
        second = await listed(sidecar, page_size=3, page_token=first.next_page_token)
        quick = await listed(sidecar, policy="quick")
        wrong = await violations(listed(sidecar, page_token="x"))
        unknown = await refused(listed(sidecar, policy="quikc"))
        tallies = (await listed(sidecar)).tallies

    assert [each.decision_id for each in (*first.differences, *second.differences)] == made[::-1]
    assert second.next_page_token == ""
    assert [each.decision_id for each in quick.differences] == [made[1]]
    assert [tally.policy for tally in quick.tallies] == ["quick"]
    assert [(tally.policy, tally.differed_count) for tally in tallies] == [("default", 3), ("quick", 1)]
    assert wrong == {"page_token": "is not one that came with a page; begin without one"}
    assert unknown == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_POLICY")


async def test_a_shadow_comes_and_goes_with_the_file(tmp_path: Path) -> None:
    plain = POLICIES.replace(", shadow_policy: other", "")
    async with administered(tmp_path, written(more=plain)) as sidecar:
        await route(sidecar)
        before = await listed(sidecar)
        await sidecar.change_file(written(more=POLICIES))
        watched = await route(sidecar)
        during = await compared(sidecar, 1)
        await sidecar.change_file(written(more=plain))
        unwatched = await route(sidecar)
        after = await listed(sidecar)
        alone = await record(sidecar, unwatched)

    assert (len(before.differences), len(before.tallies)) == (0, 0)
    assert [each.decision_id for each in during.differences] == [watched.decision_id]
    # What was found stays listed; nothing is tallied that has no shadow any more.
    assert ([each.decision_id for each in after.differences], len(after.tallies)) == ([watched.decision_id], 0)
    assert not alone.HasField("shadow")


async def test_what_is_forgotten_of_the_history_is_forgotten_here(tmp_path: Path) -> None:
    async with administered(tmp_path, written(more=POLICIES)) as sidecar:
        await route(sidecar)
        await compared(sidecar, 1)
        await sidecar.call(sidecar.admin.ClearHistory, pb.ClearHistoryRequest())
        after = await listed(sidecar)

    assert after.differences == []
    assert [tally.differed_count for tally in after.tallies] == [1]


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
async def test_both_clients_list_differences(tmp_path: Path, kind: str) -> None:
    async with administered(tmp_path, written(more=POLICIES)) as sidecar:
        made = [(await route(sidecar)).decision_id for _ in range(3)]
        await compared(sidecar, 3)
        if kind == "asyncio":
            async with AsyncClient(sidecar.address, token=ADMIN_KEY) as client:
                answer = await client.admin.shadow_differences("default", limit=2, timeout_seconds=LONG_SECONDS)
        else:
            with Client(sidecar.address, token=ADMIN_KEY) as blocking:
                read: Callable[..., pb.ListShadowDifferencesResponse] = blocking.admin.shadow_differences
                answer = await asyncio.to_thread(read, "default", limit=2, timeout_seconds=LONG_SECONDS)

    assert [each.decision_id for each in answer.differences] == [made[2], made[1]]
    assert [tally.differed_count for tally in answer.tallies] == [3]


ROWS = """, routing: {
    default_policy: usual,
    select: [
        {when: {tenant: acme, task: chat}, policy: first},
        {when: {tier: pro, label: team=blue}, policy: second},
        {when: {tenant: acme}, policy: third}],
    policies: {usual: {}, first: {}, second: {}, third: {}}}"""

CALLER = router_pb2.Caller
SELECTED: Sequence[tuple[router_pb2.Caller, str, str, tuple[str, str]]] = (
    (CALLER(), "", "", ("usual", "routing.default_policy")),
    (CALLER(tenant="acme"), "chat", "", ("first", "routing.select[0] (tenant acme, task chat)")),
    (CALLER(tenant="acme"), "planning", "", ("third", "routing.select[2] (tenant acme)")),
    (
        CALLER(tenant="acme", tier="pro", labels={"team": "blue"}),
        "planning",
        "",
        ("second", "routing.select[1] (tier pro, label team=blue)"),
    ),
    (
        CALLER(tenant="acme", tier="pro", labels={"team": "blue"}),
        "chat",
        "",
        ("first", "routing.select[0] (tenant acme, task chat)"),
    ),
    (CALLER(tier="pro", labels={"team": "red"}), "", "", ("usual", "routing.default_policy")),
    (CALLER(tenant="acme"), "chat", "second", ("second", "the request")),
)


async def test_the_first_row_that_fits_selects_the_policy_and_the_decision_says_which(tmp_path: Path) -> None:
    found, recorded = [], []
    async with administered(tmp_path, written(more=ROWS)) as sidecar:
        for caller, task, policy, _ in SELECTED:
            request = router_pb2.RouteRequest(
                caller=caller,
                profile=router_pb2.RequestProfile(task=task, input_tokens=100, max_output_tokens=10),
                options=router_pb2.RoutingOptions(policy=policy, detail=router_pb2.DECISION_DETAIL_FULL),
            )
            decision = (await sidecar.stub.Route(request, timeout=LONG_SECONDS, metadata=AS_CALLER)).decision
            kept = await record(sidecar, decision)
            found.append((decision.policy, decision.policy_rule))
            recorded.append((kept.decision.policy, kept.decision.policy_rule))

    assert found == recorded == [expected for *_, expected in SELECTED]


async def test_each_policy_has_its_own_limits_tables_and_failover(tmp_path: Path) -> None:
    more = """, routing: {
        select: [{when: {label: kind=careful}, policy: careful}, {when: {label: kind=dear}, policy: dear}],
        policies: {
            default: {strategy: PRIORITY, failover: {max_attempts: 1}},
            careful: {inherits: default, preferences: [south/small], failover: {max_attempts: 2}},
            dear: {inherits: careful, limits: {max_cost_usd: 0}}}}"""
    asked = router_pb2.ChatInput(
        messages=[router_pb2.Message(role=router_pb2.ROLE_USER, parts=[router_pb2.Part(text="Hi")])]
    )
    found = {}
    async with administered(tmp_path, written(more=more)) as sidecar:
        for kind in ("", "careful", "dear"):
            caller = router_pb2.Caller(labels={"kind": kind})
            request = router_pb2.ExecuteRequest(input=asked, caller=caller)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await sidecar.stub.Execute(request, timeout=LONG_SECONDS, metadata=AS_CALLER)
            (kept,) = (await sidecar.call(sidecar.admin.ListDecisions, pb.ListDecisionsRequest(page_size=1))).decisions
            targets = dict.fromkeys(target_name(attempt.target) for attempt in kept.attempts)
            found[kept.decision.policy] = (caught.value.code(), list(targets))

    # Nobody listens where they call.
    assert found == {
        "default": (grpc.StatusCode.UNAVAILABLE, ["north/small"]),
        "careful": (grpc.StatusCode.UNAVAILABLE, ["south/small", "north/small"]),
        "dear": (grpc.StatusCode.FAILED_PRECONDITION, []),
    }
