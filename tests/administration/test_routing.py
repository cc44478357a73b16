"""Routing rules changed while it runs, through the real server: what holds then, who may, and what is refused whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.administration.administered import (
    AS_CALLER,
    DENIED,
    NORTH,
    SOUTH,
    Administered,
    administered,
    refused,
    violations,
    written,
)
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api.routing_rules import HINTS_MAXIMUM

FILE = written(
    more=", routing: {provider_order: [south], policies: {default: {strategy: PRIORITY}, "
    "nightly: {inherits: default, weights: {cost: 1}}, shared: {strategy: WEIGHTED, shares: {north/small: 1}}}}"
)
COST, LATENCY, PRIORITY = router_pb2.STRATEGY_COST, router_pb2.STRATEGY_LATENCY, router_pb2.STRATEGY_PRIORITY


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(tmp_path, FILE) as started:
        yield started


def request(*paths: str, etag: str = "", **values: object) -> pb.UpdateRoutingRequest:
    asked = pb.UpdateRoutingRequest(routing=pb.Routing(**values), etag=etag)  # type: ignore[arg-type]
    if paths:
        asked.update_mask.paths.extend(paths)
    return asked


async def update(sidecar: Administered, *paths: str, etag: str = "", **values: object) -> pb.Routing:
    answer = await sidecar.call(sidecar.admin.UpdateRouting, request(*paths, etag=etag, **values))
    return answer.routing


async def test_the_next_decision_goes_by_the_changed_rules_and_says_which_version_they_are(
    sidecar: Administered,
) -> None:
    before = await sidecar.decision()
    changed = await update(sidecar, strategy=COST)
    after = await sidecar.decision()
    read = await sidecar.routing()

    assert (before.strategy, after.strategy) == (PRIORITY, COST)
    assert changed == read
    assert before.policy_version != after.policy_version == changed.policy_version
    assert changed.etag != (await update(sidecar, strategy=PRIORITY)).etag


async def test_what_inherits_from_the_changed_policy_changes_with_it(sidecar: Administered) -> None:
    await update(sidecar, strategy=LATENCY)

    assert (await sidecar.decision("nightly")).strategy == LATENCY
    assert (await sidecar.routing("shared")).strategy == router_pb2.STRATEGY_WEIGHTED


async def test_single_weights_are_laid_over_those_in_force(sidecar: Administered) -> None:
    first = await update(sidecar, weights=router_pb2.Weights(quality=0.5))
    second = await update(sidecar, "weights.cost", policy="nightly", weights=router_pb2.Weights(cost=3.0, latency=9.0))

    assert [getattr(first.weights, name) for name in ("cost", "latency", "availability", "quality", "priority")] == [
        0.4,
        0.3,
        0.3,
        0.5,
        0.0,
    ]
    assert (second.weights.cost, second.weights.latency) == (3.0, 0.3)


async def test_a_preset_stands_for_all_of_its_values(tmp_path: Path) -> None:
    async with administered(tmp_path, written(more=", failover: {open_seconds: 7}")) as sidecar:
        before = await sidecar.routing()
        chosen = await update(sidecar, failover_preset=pb.FAILOVER_PRESET_AGGRESSIVE)
        back = await update(sidecar, "failover_preset")

    assert before.failover_preset == back.failover_preset == pb.FAILOVER_PRESET_UNSPECIFIED
    assert chosen.failover_preset == pb.FAILOVER_PRESET_AGGRESSIVE
    assert before.etag == back.etag


async def test_the_order_of_providers_and_the_default_policy_can_be_changed(sidecar: Administered) -> None:
    before = await sidecar.routing()
    first = (await sidecar.decision()).candidates[0].target.provider
    changed = await update(sidecar, provider_order=["north"], default_policy="nightly")
    decision = await sidecar.decision()

    assert (first, list(before.provider_order), before.default_policy) == ("south", ["south", "north"], "default")
    assert list(changed.provider_order) == ["north", "south"]
    assert (decision.policy, decision.candidates[0].target.provider) == ("nightly", "north")


async def test_preferred_targets_come_first_whatever_the_strategy_says(sidecar: Administered) -> None:
    before = await sidecar.routing()
    changed = await update(sidecar, preferences=["north/small"])
    decisions = [await sidecar.decision(), await sidecar.decision("nightly"), await sidecar.decision("shared")]
    back = await update(sidecar, "preferences")

    assert list(changed.preferences) == ["north/small"]
    # Those of the policy, and of the one that inherits them.
    assert [each.candidates[0].target.provider for each in decisions[:2]] == ["north", "north"]
    assert (await sidecar.routing("shared")).preferences == []
    assert back == before


async def test_what_the_mask_names_and_nothing_sets_is_again_what_the_configuration_says(
    sidecar: Administered,
) -> None:
    before = await sidecar.routing()
    await update(
        sidecar,
        strategy=COST,
        weights=router_pb2.Weights(cost=9.0),
        failover_preset=pb.FAILOVER_PRESET_CONSERVATIVE,
        provider_order=["north"],
    )
    await update(sidecar, policy="default", default_policy="shared")
    back = await update(
        sidecar, "strategy", "weights", "failover_preset", "default_policy", "provider_order", policy="default"
    )

    assert back == before


async def test_each_change_is_an_event_with_who_and_what_and_none_is_told_of_nothing(sidecar: Administered) -> None:
    read = await sidecar.routing()
    await sidecar.call(sidecar.admin.UpdateRouting, pb.UpdateRoutingRequest(routing=read, etag=read.etag))
    await update(sidecar, strategy=COST, weights=router_pb2.Weights(cost=0.8))
    (event,) = await sidecar.events("routing.changed")

    assert event.fields["policy"] == "default"
    assert event.fields["by"].startswith("token of environment variable ADMIN_TOKEN, from ipv4:127.0.0.1:")
    assert event.fields["what"] == (
        "strategy PRIORITY -> COST; weights cost=0.4 latency=0.3 availability=0.3 -> "
        "cost=0.8 latency=0.3 availability=0.3"
    )


async def test_of_changes_to_what_was_read_one_is_taken_and_the_others_are_stale(sidecar: Administered) -> None:
    etag = (await sidecar.routing()).etag
    ends = await asyncio.gather(
        *(update(sidecar, etag=etag, strategy=strategy) for strategy in (COST, LATENCY, router_pb2.STRATEGY_QUALITY)),
        return_exceptions=True,
    )
    taken = [end for end in ends if isinstance(end, pb.Routing)]
    stale = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]

    assert (len(taken), [each.code() for each in stale]) == (1, [grpc.StatusCode.ABORTED] * 2)
    assert (await sidecar.routing()).strategy == taken[0].strategy
    assert len(await sidecar.events("routing.changed")) == 1


REFUSED = [
    (request("strategy"[:4], strategy=COST), "update_mask", "is none of strategy, weights"),
    (pb.UpdateRoutingRequest(), "routing", "is missing"),
    (request(weights=router_pb2.Weights(cost=-1.0)), "routing.weights.cost", "is -1"),
    (request(weights=router_pb2.Weights(cost=float("nan"))), "routing.weights.cost", "is nan"),
    (
        request(weights=router_pb2.Weights(cost=0, latency=0, availability=0)),
        "routing.weights",
        "all weights are 0",
    ),
    (request("weights.cost"), "routing.weights.cost", "not set"),
    (request(strategy=router_pb2.STRATEGY_WEIGHTED), "routing.strategy", "WEIGHTED needs shares"),
    (request(strategy=99), "routing.strategy", "has the value 99"),
    (request(failover_preset=99), "routing.failover_preset", "has the value 99"),
    (request(default_policy="nightlz"), "routing.default_policy", 'did you mean "nightly"?'),
    (request(provider_order=["south", "west"]), "routing.provider_order[1]", "the providers are: north, south"),
    (request(provider_order=["south", "south"]), "routing.provider_order[1]", "again"),
    (request(preferences=["south/small", "west/m"]), "routing.preferences[1]", "is no target"),
    (request(preferences=["south/large"]), "routing.preferences[0]", 'is no target; did you mean "south/small"?'),
    (request(policy="x" * 200), "routing.policy", "at most 128"),
]


async def test_of_many_wrong_names_only_the_first_are_compared_with_all_others(sidecar: Administered) -> None:
    names = [f"south/smal{number}" for number in range(256)]
    found = await violations(sidecar.call(sidecar.admin.UpdateRouting, request(preferences=names)))

    assert len([each for each in found.values() if "did you mean" in each]) == HINTS_MAXIMUM
    assert found["routing.preferences[0]"] == '"south/smal0" is no target; did you mean "south/small"?'


async def test_what_cannot_be_is_refused_whole(sidecar: Administered) -> None:
    before = await sidecar.routing()
    for asked, field, says in REFUSED:
        # Beside it stands something that could be: it does not happen either.
        if asked.HasField("routing") and not asked.routing.strategy:
            asked.routing.strategy = COST
            if asked.HasField("update_mask"):
                asked.update_mask.paths.append("strategy")
        found = await violations(sidecar.call(sidecar.admin.UpdateRouting, asked))

        assert list(found) == [field], asked
        assert says in found[field]
    assert await sidecar.routing() == before
    assert not await sidecar.events("routing.changed")


async def test_an_inheriting_policy_that_it_does_not_fit_is_named(sidecar: Administered) -> None:
    found = await violations(sidecar.call(sidecar.admin.UpdateRouting, request(strategy=router_pb2.STRATEGY_WEIGHTED)))

    assert 'policy "nightly"' in found["routing.strategy"]


async def test_unknown_policies_and_callers_without_the_role_change_nothing(sidecar: Administered) -> None:
    before = await sidecar.routing()
    unknown = await refused(sidecar.call(sidecar.admin.UpdateRouting, request(policy="weekly", strategy=COST)))
    denied = await refused(sidecar.admin.UpdateRouting(request(strategy=COST), metadata=AS_CALLER, timeout=60))
    read = await sidecar.admin.GetRouting(pb.GetRoutingRequest(), metadata=AS_CALLER, timeout=60)

    assert unknown == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_POLICY")
    assert denied == DENIED
    assert read.routing == before == await sidecar.routing()


async def test_a_changed_file_leaves_what_it_says_nothing_new_of(sidecar: Administered) -> None:
    await update(sidecar, strategy=COST, provider_order=["north"])
    told = await sidecar.change_file(FILE.replace("drain_seconds: 5", "drain_seconds: 6"))
    kept = await sidecar.routing()
    other = await sidecar.change_file(FILE.replace("strategy: PRIORITY", "strategy: QUALITY"))
    now = await sidecar.routing()
    gone = await sidecar.change_file(written(more=", routing: {provider_order: [south, north]}"))

    assert (told["changed"], told.get("undone")) == ("drain_seconds", None)
    assert (kept.strategy, list(kept.provider_order)) == (COST, ["north", "south"])
    assert other["undone"] == "routing.policies.default.strategy"
    assert (now.strategy, list(now.provider_order)) == (router_pb2.STRATEGY_QUALITY, ["north", "south"])
    assert gone["undone"] == "routing.provider_order"
    assert list((await sidecar.routing()).provider_order) == ["south", "north"]


async def test_what_was_changed_never_keeps_a_good_file_out(sidecar: Administered) -> None:
    # "shared" is WEIGHTED by its own word now; in the other file it has no shares.
    await update(sidecar, policy="nightly", strategy=COST)
    await update(sidecar, default_policy="nightly", policy="default")
    told = await sidecar.change_file(written(NORTH, SOUTH, more=", routing: {policies: {default: {}}}"))

    assert told["event"] == "config.reloaded"
    assert (await sidecar.routing()).default_policy == "default"
    assert "routing.default_policy" in told["undone"]


async def test_a_restart_undoes_it(tmp_path: Path) -> None:
    async with administered(tmp_path, FILE) as sidecar:
        before = await sidecar.routing()
        await update(sidecar, strategy=COST)
    async with administered(tmp_path, FILE) as sidecar:
        assert await sidecar.routing() == before


async def test_calls_that_ask_at_the_same_time_meet_the_old_rules_or_the_new_ones(sidecar: Administered) -> None:
    async def decide() -> tuple[int, str]:
        decision = await sidecar.decision()
        return decision.strategy, decision.policy_version

    deciding = [asyncio.ensure_future(decide()) for _ in range(100)]
    changed = await update(sidecar, strategy=COST)
    seen = set(await asyncio.gather(*deciding))

    assert len(seen) <= 2
    assert all((strategy == COST) is (version == changed.policy_version) for strategy, version in seen)
