"""Draining, undraining and resetting over a real connection: what callers meet, and what operators are told."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import ANSWER, HELLO, LOCAL, SPECS, Script, Sidecar, details, failing, reason, running
from tests.api.test_access import ADMIN, CALL, DENIED, UNAUTHENTICATED, refused, tokens, with_token
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import FailureKind, RejectionReason, Strategy, Target, Weights
from turnout_server.core.settings import (
    PRESETS,
    BreakerSettings,
    FailoverSettings,
    Policy,
    Preset,
    RoutingSettings,
    Settings,
)

GENEROUS_SECONDS = 60
EVERYTHING = pb.HealthScope(all=pb.AllTargets())
IN_ORDER = Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)}))
EXECUTE = router_pb2.ExecuteRequest(input=HELLO)


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    """A sidecar that calls alpha/large as long as it may."""
    async with running(core=IN_ORDER) as started:
        yield started


async def drain(
    sidecar: Sidecar, provider: str = "alpha", *targets: str, whole: bool | None = None, etag: str = ""
) -> pb.RegisteredProvider:
    request = pb.UpdateProviderRequest(provider=pb.RegisteredProvider(provider=provider, drained=whole), etag=etag)
    if whole is None:
        request.provider.drained_targets.extend(targets)
        request.update_mask.paths.append("drained_targets")
    answer = await sidecar.admin.UpdateProvider(request, timeout=GENEROUS_SECONDS)
    return answer.provider


async def reset(sidecar: Sidecar, scope: pb.HealthScope = EVERYTHING) -> list[str]:
    answer = await sidecar.admin.ResetHealth(pb.ResetHealthRequest(scope=scope), timeout=GENEROUS_SECONDS)
    return [str(Target(each.provider, each.model, each.endpoint)) for each in answer.targets]


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    assert reason(error) == "INVALID_REQUEST"
    bad = error_details_pb2.BadRequest.FromString(details(error)["BadRequest"])
    return {violation.field: violation.description for violation in bad.field_violations}


async def called(sidecar: Sidecar, request: router_pb2.ExecuteRequest = EXECUTE) -> str:
    answer = await sidecar.stub.Execute(request, timeout=GENEROUS_SECONDS)
    where = answer.target
    return str(Target(where.provider, where.model, where.endpoint))


async def drained_in_status(sidecar: Sidecar) -> tuple[list[str], list[str]]:
    answer = await sidecar.stub.ProviderStatus(router_pb2.ProviderStatusRequest(), timeout=GENEROUS_SECONDS)
    return (
        [state.provider for state in answer.providers if state.drained],
        [
            f"{each.target.provider}/{each.target.model}"
            for state in answer.providers
            for each in state.targets
            if each.drained
        ],
    )


def told(sidecar: Sidecar, *names: EventName) -> list[Event]:
    return [event for event in sidecar.events if event.name in names]


async def test_a_drained_target_gets_no_new_calls_until_it_is_undrained(sidecar: Sidecar) -> None:
    before = await called(sidecar)
    drained = await drain(sidecar, "alpha", "alpha/large")
    meanwhile = {await called(sidecar) for _ in range(10)}
    status = await drained_in_status(sidecar)
    undrained = await drain(sidecar, "alpha")
    after = await called(sidecar)

    assert before == after == "alpha/large"
    assert list(drained.drained_targets) == ["alpha/large"]
    assert not drained.drained
    assert "alpha/large" not in meanwhile
    assert status == ([], ["alpha/large"])
    assert list(undrained.drained_targets) == []
    assert drained.etag != undrained.etag


async def test_a_drained_provider_keeps_which_of_its_targets_were_drained_alone(sidecar: Sidecar) -> None:
    await drain(sidecar, "alpha", "alpha/small")
    whole = await drain(sidecar, "alpha", whole=True)
    status = await drained_in_status(sidecar)
    back = await drain(sidecar, "alpha", whole=False)

    assert (whole.drained, list(whole.drained_targets)) == (True, ["alpha/small"])
    assert status == (["alpha"], ["alpha/large", "alpha/small"])
    assert (back.drained, list(back.drained_targets)) == (False, ["alpha/small"])
    assert await drained_in_status(sidecar) == ([], ["alpha/small"])


async def test_not_even_as_a_last_resort() -> None:
    scripts = {"alpha/large": (failing(FailureKind.OVERLOADED, status=503, possibly_billed=False),)}
    async with running(specs=SPECS[:2], core=IN_ORDER, scripts=scripts) as sidecar:
        await drain(sidecar, "alpha", "alpha/small")
        error = await refusal(called(sidecar))

        assert reason(error) == "ALL_ATTEMPTS_REFUSED"
        assert {str(call.spec.target) for call in sidecar.upstream.calls} == {"alpha/large"}


async def test_where_all_are_drained_the_error_says_so(sidecar: Sidecar) -> None:
    await drain(sidecar, "alpha", whole=True)
    await drain(sidecar, "beta", "beta/large")
    error = await refusal(called(sidecar))
    failure = router_pb2.CallFailure.FromString(details(error)["CallFailure"])

    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "ALL_TARGETS_UNAVAILABLE")
    assert "3 DRAINED; an operator has drained all of them; undrain one" in str(error.details())
    assert {each for rejection in failure.rejections for each in rejection.reasons} == {
        router_pb2.REJECTION_REASON_DRAINED
    }
    assert sidecar.upstream.calls == []


async def test_a_forced_target_that_is_drained_is_not_called(sidecar: Sidecar) -> None:
    await drain(sidecar, "beta", whole=True)
    request = router_pb2.ExecuteRequest(input=HELLO, options=router_pb2.RoutingOptions(force_target="beta/large"))

    assert reason(await refusal(called(sidecar, request))) == "ALL_TARGETS_UNAVAILABLE"


async def test_a_session_leaves_a_drained_target_and_so_do_its_plans(sidecar: Sidecar) -> None:
    sticky = router_pb2.ExecuteRequest(input=HELLO, options=router_pb2.RoutingOptions(sticky_key="talk"))
    await drain(sidecar, "alpha", whole=True)
    home = await called(sidecar, sticky)
    await drain(sidecar, "alpha", whole=False)
    kept = await called(sidecar, sticky)
    await drain(sidecar, "beta", "beta/large")
    elsewhere = {await called(sidecar, sticky) for _ in range(5)}
    plan = await sidecar.stub.Route(router_pb2.RouteRequest(options=sticky.options), timeout=GENEROUS_SECONDS)

    assert home == kept == "beta/large"
    assert elsewhere == {"alpha/large"}
    assert [each.target.provider for each in plan.decision.candidates] == ["alpha", "alpha"]


async def test_calls_that_run_go_on_and_none_is_lost_when_their_target_is_drained() -> None:
    gate = asyncio.Event()
    scripts: dict[str, Script] = {"alpha/large": (*ANSWER[:2], gate, *ANSWER[2:])}
    async with running(
        core=IN_ORDER, scripts=scripts, settings=dataclasses.replace(LOCAL, max_concurrent_calls=256)
    ) as sidecar:
        before = [asyncio.ensure_future(called(sidecar)) for _ in range(100)]
        async with asyncio.timeout(GENEROUS_SECONDS):
            while len(sidecar.upstream.calls) < len(before):  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.01)
        await drain(sidecar, "alpha", "alpha/large")
        after = [asyncio.ensure_future(called(sidecar)) for _ in range(100)]
        answered_after = await asyncio.wait_for(asyncio.gather(*after), GENEROUS_SECONDS)
        gate.set()
        answered_before = await asyncio.wait_for(asyncio.gather(*before), GENEROUS_SECONDS)

    assert set(answered_before) == {"alpha/large"}
    assert "alpha/large" not in answered_after
    assert (len(answered_before), len(answered_after)) == (100, 100)


async def test_calls_that_fail_after_their_target_was_drained_move_on_and_do_not_come_back() -> None:
    gate = asyncio.Event()
    refused = failing(FailureKind.RATE_LIMITED, status=429, possibly_billed=False)
    scripts: dict[str, Script] = {"alpha/large": (gate, refused)}
    async with running(core=IN_ORDER, scripts=scripts) as sidecar:
        calls = [asyncio.ensure_future(called(sidecar)) for _ in range(50)]
        async with asyncio.timeout(GENEROUS_SECONDS):
            while len(sidecar.upstream.calls) < len(calls):  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.01)
        await drain(sidecar, "alpha", whole=True)
        gate.set()
        answered = await asyncio.wait_for(asyncio.gather(*calls), GENEROUS_SECONDS)
        to_alpha = [call for call in sidecar.upstream.calls if call.spec.target.provider == "alpha"]

    assert set(answered) == {"beta/large"}
    assert len(to_alpha) == len(calls)


async def test_an_update_without_anything_to_change_reads_the_provider(sidecar: Sidecar) -> None:
    answer = await sidecar.admin.UpdateProvider(
        pb.UpdateProviderRequest(provider=pb.RegisteredProvider(provider="alpha")), timeout=GENEROUS_SECONDS
    )
    provider = answer.provider

    assert (provider.provider, provider.wire, provider.base_url) == ("alpha", "openai", "https://alpha.example/v1")
    assert (provider.credential, provider.registered, provider.drained) == ("main", False, False)
    assert [model.name for model in provider.models] == ["large", "small"]
    assert (provider.models[0].quality, provider.models[0].output_per_million_usd) == (95.0, 2.0)
    assert provider.etag
    assert not sidecar.events


async def test_what_was_read_may_be_sent_back_with_the_drain_set(sidecar: Sidecar) -> None:
    read = await drain(sidecar, "alpha", whole=False)
    read.drained = True
    answer = await sidecar.admin.UpdateProvider(
        pb.UpdateProviderRequest(provider=read, etag=read.etag), timeout=GENEROUS_SECONDS
    )

    assert answer.provider.drained
    assert await drained_in_status(sidecar) == (["alpha"], ["alpha/large", "alpha/small"])


async def test_of_two_changes_of_what_was_read_one_is_stale(sidecar: Sidecar) -> None:
    etag = (await drain(sidecar, "alpha", whole=False)).etag
    ends = await asyncio.gather(
        drain(sidecar, "alpha", "alpha/large", etag=etag),
        drain(sidecar, "alpha", "alpha/small", etag=etag),
        return_exceptions=True,
    )
    (changed,) = (end for end in ends if isinstance(end, pb.RegisteredProvider))
    (stale,) = (end for end in ends if isinstance(end, grpc.aio.AioRpcError))

    assert (stale.code(), reason(stale)) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (await drained_in_status(sidecar))[1] == list(changed.drained_targets)
    assert (await drain(sidecar, "alpha", "alpha/small", etag=changed.etag)).etag != changed.etag


@pytest.mark.parametrize(
    ("provider", "mask", "field", "says"),
    [
        (pb.RegisteredProvider(), None, "provider.provider", "is missing"),
        (pb.RegisteredProvider(provider="a" * 200), None, "provider.provider", "200 characters"),
        (pb.RegisteredProvider(provider="alpha"), [], "update_mask", "names no field"),
        (pb.RegisteredProvider(provider="alpha"), ["base_url"], "update_mask", "configuration's"),
        (pb.RegisteredProvider(provider="alpha"), ["models.name"], "update_mask", "configuration's"),
        (pb.RegisteredProvider(provider="alpha"), ["drained.x"], "update_mask", "drained and drained_targets"),
        (pb.RegisteredProvider(provider="alpha"), ["drained"] * 101, "update_mask", "at most 100"),
        (pb.RegisteredProvider(provider="alpha"), ["colour"], "update_mask", "none of drained, drained_targets"),
        (pb.RegisteredProvider(provider="alpha", wire="gemini"), None, "provider.wire", "configuration's"),
        (
            pb.RegisteredProvider(provider="alpha", max_concurrency=3),
            None,
            "provider.max_concurrency",
            "configuration's",
        ),
        (
            pb.RegisteredProvider(provider="alpha", models=[pb.RegisteredModel(name="new")]),
            None,
            "provider.models",
            "configuration's",
        ),
        (
            pb.RegisteredProvider(provider="alpha", drained_targets=["alpha/large", "beta/large"]),
            None,
            "provider.drained_targets[1]",
            'not of the provider "alpha"',
        ),
        (
            pb.RegisteredProvider(provider="alpha", drained_targets=["alpha"]),
            None,
            "provider.drained_targets[0]",
            "set drained for the whole provider",
        ),
        (pb.RegisteredProvider(provider="alpha", drained_targets=["x" * 300]), None, "provider.drained_targets[0]", ""),
    ],
)
async def test_bad_input_names_the_field_and_changes_nothing(
    sidecar: Sidecar, provider: pb.RegisteredProvider, mask: list[str] | None, field: str, says: str
) -> None:
    # What would be right beside it is not done either.
    provider.drained = True
    request = pb.UpdateProviderRequest(provider=provider)
    if mask is not None:
        request.update_mask.CopyFrom(FieldMask(paths=mask))
    found = violations(await refusal(sidecar.admin.UpdateProvider(request, timeout=GENEROUS_SECONDS)))

    assert list(found) == [field]
    assert says in found[field]
    assert await drained_in_status(sidecar) == ([], [])
    assert not sidecar.events


async def test_names_of_nothing_are_not_found(sidecar: Sidecar) -> None:
    assert reason(await refusal(drain(sidecar, "gamma", whole=True))) == "UNKNOWN_PROVIDER"
    assert reason(await refusal(drain(sidecar, "alpha", "alpha/large", "alpha/nothing"))) == "UNKNOWN_TARGET"
    assert reason(await refusal(reset(sidecar, pb.HealthScope(provider="gamma")))) == "UNKNOWN_PROVIDER"
    no_target = pb.HealthScope(target=router_pb2.Target(provider="alpha", model="nothing"))
    assert reason(await refusal(reset(sidecar, no_target))) == "UNKNOWN_TARGET"
    no_endpoint = pb.HealthScope(endpoint=pb.EndpointName(provider="alpha", endpoint="eu"))
    assert reason(await refusal(reset(sidecar, no_endpoint))) == "UNKNOWN_TARGET"
    assert await drained_in_status(sidecar) == ([], [])
    assert not sidecar.events


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (pb.HealthScope(), "scope"),
        (pb.HealthScope(target=router_pb2.Target(provider="alpha")), "scope.target.model"),
        (pb.HealthScope(target=router_pb2.Target(model="large")), "scope.target.provider"),
        (pb.HealthScope(endpoint=pb.EndpointName(endpoint="eu")), "scope.endpoint.provider"),
        (pb.HealthScope(provider="x" * 129), "scope.provider"),
    ],
)
async def test_a_reset_of_nothing_names_the_field(sidecar: Sidecar, scope: pb.HealthScope, field: str) -> None:
    assert list(violations(await refusal(reset(sidecar, scope)))) == [field]


async def test_every_change_is_told_with_who_made_it(sidecar: Sidecar) -> None:
    await drain(sidecar, "alpha", whole=True)
    await drain(sidecar, "alpha", "alpha/large", "alpha/small")
    await drain(sidecar, "alpha", "alpha/small")
    # As it is already: nothing happened.
    await drain(sidecar, "alpha", "alpha/small")
    await reset(sidecar, pb.HealthScope(provider="beta"))
    await reset(sidecar)

    found = told(sidecar, EventName.DRAINED, EventName.UNDRAINED, EventName.HEALTH_RESET)
    assert [(each.name.value, each.provider, str(each.target or ""), each.fields.get("what")) for each in found] == [
        ("drained", "alpha", "", "the whole provider"),
        ("drained", "alpha", "", "alpha/large, alpha/small"),
        ("undrained", "alpha", "alpha/large", None),
        ("health.reset", "beta", "beta/large", None),
        ("health.reset", "", "", "alpha/large, alpha/small, beta/large"),
    ]
    assert all(str(each.fields["by"]).startswith("somebody without a token, from ipv4:127.0.0.1:") for each in found)


async def test_changing_needs_the_role_admin_and_its_token_is_told() -> None:
    async with running(settings=dataclasses.replace(LOCAL, tokens=tokens())) as sidecar:
        update = pb.UpdateProviderRequest(provider=pb.RegisteredProvider(provider="alpha", drained=True))
        forget = pb.ResetHealthRequest(scope=EVERYTHING)
        for token, wanted in ((CALL, DENIED), ("", UNAUTHENTICATED)):
            sent = with_token(token)
            assert await refused(sidecar.admin.UpdateProvider(update, metadata=sent)) == wanted
            assert await refused(sidecar.admin.ResetHealth(forget, metadata=sent)) == wanted
        assert not sidecar.events
        await sidecar.admin.UpdateProvider(update, metadata=with_token(ADMIN), timeout=GENEROUS_SECONDS)

        (event,) = told(sidecar, EventName.DRAINED)
        assert str(event.fields["by"]).startswith("token of three, from ")
        assert ADMIN not in str(event)


async def test_a_reset_closes_what_failures_opened() -> None:
    async with running(
        core=IN_ORDER, scripts={"alpha/large": (failing(FailureKind.MODEL_NOT_FOUND, status=404),)}
    ) as sidecar:
        # Its key is out for the model now.
        assert await called(sidecar) != "alpha/large"
        out = await _rejected(sidecar)
        sidecar.upstream.scripts.clear()
        reset_targets = await reset(sidecar, pb.HealthScope(target=router_pb2.Target(provider="alpha", model="large")))

        assert out == {"alpha/large": [RejectionReason.CREDENTIALS.value]}
        assert reset_targets == ["alpha/large"]
        assert await _rejected(sidecar) == {}
        assert await called(sidecar) == "alpha/large"


ENDPOINTS = tuple(
    dataclasses.replace(SPECS[0], target=Target("alpha", "large", where), name=f"alpha/large@{where}")
    for where in ("eu", "us")
)


@pytest.mark.parametrize(
    ("scope", "which"),
    [
        (EVERYTHING, ["alpha/large@eu", "alpha/large@us", "beta/large"]),
        (pb.HealthScope(provider="alpha"), ["alpha/large@eu", "alpha/large@us"]),
        (pb.HealthScope(endpoint=pb.EndpointName(provider="alpha", endpoint="us")), ["alpha/large@us"]),
        (pb.HealthScope(endpoint=pb.EndpointName(provider="beta")), ["beta/large"]),
        (
            pb.HealthScope(target=router_pb2.Target(provider="alpha", model="large")),
            ["alpha/large@eu", "alpha/large@us"],
        ),
        (pb.HealthScope(target=router_pb2.Target(provider="alpha", model="large@eu")), ["alpha/large@eu"]),
        (
            pb.HealthScope(target=router_pb2.Target(provider="alpha", model="large", endpoint="eu")),
            ["alpha/large@eu"],
        ),
    ],
)
async def test_a_reset_is_of_what_its_scope_names(scope: pb.HealthScope, which: list[str]) -> None:
    async with running(specs=(*ENDPOINTS, SPECS[2])) as sidecar:
        assert await reset(sidecar, scope) == which


async def test_of_several_endpoints_one_has_to_be_named() -> None:
    async with running(specs=ENDPOINTS) as sidecar:
        scope = pb.HealthScope(endpoint=pb.EndpointName(provider="alpha"))
        found = violations(await refusal(reset(sidecar, scope)))

        assert list(found) == ["scope.endpoint.endpoint"]
        assert '"eu", "us"' in found["scope.endpoint.endpoint"]


async def test_a_model_is_drained_at_all_of_its_endpoints() -> None:
    async with running(specs=(*ENDPOINTS, SPECS[2])) as sidecar:
        assert list((await drain(sidecar, "alpha", "alpha/large")).drained_targets) == [
            "alpha/large@eu",
            "alpha/large@us",
        ]
        assert list((await drain(sidecar, "alpha", "alpha/large@us")).drained_targets) == ["alpha/large@us"]


async def _rejected(sidecar: Sidecar) -> dict[str, list[str]]:
    options = router_pb2.RoutingOptions(detail=router_pb2.DECISION_DETAIL_FULL)
    answer = await sidecar.stub.Route(router_pb2.RouteRequest(options=options), timeout=GENEROUS_SECONDS)
    return {
        f"{each.target.provider}/{each.target.model}": [
            router_pb2.RejectionReason.Name(why).removeprefix("REJECTION_REASON_") for why in each.reasons
        ]
        for each in answer.decision.rejections
    }


async def test_the_rules_in_force_can_be_read_and_their_etag_is_theirs() -> None:
    nightly = Policy(name="nightly", strategy=Strategy.COST, weights=Weights(cost=1.0, latency=0.5))
    rules = RoutingSettings(policies={"default": Policy(), "nightly": nightly}, policy_version="v1")
    seen = []
    for core in (
        Settings(routing=rules),
        Settings(routing=rules),
        Settings(routing=dataclasses.replace(rules, policy_version="v2")),
        Settings(routing=rules, failover=FailoverSettings(breaker=PRESETS[Preset.CONSERVATIVE])),
        Settings(routing=rules, failover=FailoverSettings(breaker=BreakerSettings(open_seconds=7.0))),
    ):
        async with running(core=core) as sidecar:
            seen.append(
                await sidecar.admin.GetRouting(pb.GetRoutingRequest(policy="nightly"), timeout=GENEROUS_SECONDS)
            )
    first = seen[0].routing

    assert list(seen[0].policies) == ["default", "nightly"]
    assert (first.policy, first.strategy, first.policy_version) == ("nightly", router_pb2.STRATEGY_COST, "v1")
    assert (first.weights.cost, first.weights.latency, first.weights.HasField("priority")) == (1.0, 0.5, True)
    assert [each.routing.failover_preset for each in seen[2:]] == [
        pb.FAILOVER_PRESET_BALANCED,
        pb.FAILOVER_PRESET_CONSERVATIVE,
        pb.FAILOVER_PRESET_UNSPECIFIED,
    ]
    assert seen[0] == seen[1]
    assert len({each.routing.etag for each in seen}) == 4


async def test_without_a_name_it_is_the_default_policy_and_a_wrong_one_is_told(sidecar: Sidecar) -> None:
    answer = await sidecar.admin.GetRouting(pb.GetRoutingRequest(), timeout=GENEROUS_SECONDS)
    wrong = await refusal(sidecar.admin.GetRouting(pb.GetRoutingRequest(policy="x"), timeout=GENEROUS_SECONDS))
    long = await refusal(sidecar.admin.GetRouting(pb.GetRoutingRequest(policy="x" * 200), timeout=GENEROUS_SECONDS))

    assert (answer.routing.policy, answer.routing.strategy) == ("default", router_pb2.STRATEGY_PRIORITY)
    assert reason(wrong) == "UNKNOWN_POLICY"
    assert list(violations(long)) == ["policy"]
