"""CheckHealth over gRPC: what is checked by which scope, what is told of it, and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.api.sidecar import SPECS, ScriptedUpstream, Sidecar, failing, reason, running
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.core.events import EventName
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, Target
from turnout_server.ports import UpstreamError

GENEROUS_SECONDS = 60
TARGETS = (
    Target("alpha", "large", "eu"),
    Target("alpha", "large", "us"),
    Target("alpha", "small", "eu"),
    Target("beta", "m"),
)
WORLD = tuple(dataclasses.replace(SPECS[0], target=target, name=str(target)) for target in TARGETS)


@dataclass
class Listed(ScriptedUpstream):
    """Lists its models once it may, or fails to."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    error: UpstreamError | None = None
    asked: list[str] = field(default_factory=list)
    twice: asyncio.Event = field(default_factory=asyncio.Event)
    """It was asked at two endpoints, or twice at one."""

    async def ask_for_models(self, spec: TargetSpec, credential: str) -> None:
        self.asked.append(f"{spec.target.endpoint} {credential}")
        if len(self.asked) > 1:
            self.twice.set()
        await self.may.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def alpha() -> Listed:
    upstream = Listed()
    upstream.may.set()
    return upstream


@pytest.fixture
async def sidecar(alpha: Listed) -> AsyncIterator[Sidecar]:
    async with running(specs=WORLD, upstreams={"alpha": alpha}) as started:
        yield started


async def checked(sidecar: Sidecar, scope: pb.HealthScope, **facts: Duration) -> list[pb.CheckResult]:
    answer = await sidecar.admin.CheckHealth(pb.CheckHealthRequest(scope=scope, **facts), timeout=GENEROUS_SECONDS)
    return list(answer.results)


def where(result: pb.CheckResult) -> tuple[str, str, str]:
    return result.target.provider, result.target.model, result.target.endpoint


EVERYTHING = pb.HealthScope(all=pb.AllTargets())


async def test_endpoints_are_asked_for_their_models_and_targets_called_for_one_token(
    sidecar: Sidecar, alpha: Listed
) -> None:
    whole = await checked(sidecar, pb.HealthScope(provider="alpha"))
    one = await checked(sidecar, pb.HealthScope(endpoint=pb.EndpointName(provider="alpha", endpoint="us")))
    calls = len(alpha.calls)
    model = await checked(sidecar, pb.HealthScope(target=router_pb2.Target(provider="alpha", model="large")))

    assert [(where(each), each.ok, each.cost_usd) for each in whole] == [
        (("alpha", "", "eu"), True, 0.0),
        (("alpha", "", "us"), True, 0.0),
    ]
    assert [where(each) for each in one] == [("alpha", "", "us")]
    assert calls == 0
    assert sorted(alpha.asked) == ["eu main", "us main", "us main"]
    assert [(where(each), each.ok) for each in model] == [
        (("alpha", "large", "eu"), True),
        (("alpha", "large", "us"), True),
    ]
    assert all(each.HasField("latency") and each.cost_usd > 0 for each in model)
    assert [call.max_output_tokens for call in alpha.calls] == [1, 1]


async def test_what_fails_is_told_with_how_and_who_asked(sidecar: Sidecar, alpha: Listed) -> None:
    alpha.error = failing(FailureKind.CONNECTION, status=0)
    (result,) = await checked(sidecar, pb.HealthScope(endpoint=pb.EndpointName(provider="alpha", endpoint="eu")))
    told = [event for event in sidecar.events if event.name is EventName.CHECKED]

    assert (result.ok, result.failure) == (False, router_pb2.FAILURE_KIND_CONNECTION)
    assert result.detail == "as scripted"
    assert [(event.provider, event.endpoint, event.fields["result"]) for event in told] == [
        ("alpha", "eu", "CONNECTION")
    ]
    assert "127.0.0.1" in str(told[0].fields["by"])
    status = await sidecar.stub.ProviderStatus(router_pb2.ProviderStatusRequest(), timeout=GENEROUS_SECONDS)
    eu = [state for state in status.providers[0].targets if state.target.endpoint == "eu"]
    assert all(state.HasField("last_check_time") for state in eu)


async def test_provider_that_cannot_be_asked_is_not_said_to_be_well(sidecar: Sidecar) -> None:
    (result,) = await checked(sidecar, pb.HealthScope(provider="beta"))

    assert not result.ok
    assert result.failure == router_pb2.FAILURE_KIND_UNSPECIFIED
    assert not result.HasField("latency")
    assert result.detail == "not made: it cannot be asked for models"


async def test_everybody_who_asks_at_once_gets_the_answer_of_one_check(sidecar: Sidecar, alpha: Listed) -> None:
    alpha.may.clear()
    asking = [asyncio.create_task(checked(sidecar, pb.HealthScope(provider="alpha"))) for _ in range(10)]
    async with asyncio.timeout(GENEROUS_SECONDS):
        await alpha.twice.wait()
        # A second request of the same connection has been read before this one has its answer.
        await sidecar.stub.ProviderStatus(router_pb2.ProviderStatusRequest(), timeout=GENEROUS_SECONDS)
        alpha.may.set()
        answers = await asyncio.gather(*asking)

    assert {each.ok for results in answers for each in results} == {True}
    assert len(alpha.asked) < 20


async def test_who_asks_waits_as_long_as_they_say(sidecar: Sidecar, alpha: Listed) -> None:
    alpha.may.clear()
    results = await checked(sidecar, pb.HealthScope(provider="alpha"), timeout=Duration(nanos=50_000_000))

    assert [each.failure for each in results] == [router_pb2.FAILURE_KIND_TIMEOUT] * 2


async def test_all_endpoints_are_checked(sidecar: Sidecar) -> None:
    assert [where(each) for each in await checked(sidecar, EVERYTHING)] == [
        ("alpha", "", "eu"),
        ("alpha", "", "us"),
        ("beta", "", ""),
    ]


@pytest.mark.parametrize(
    ("request_", "code", "why"),
    [
        (pb.CheckHealthRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (
            pb.CheckHealthRequest(scope=EVERYTHING, timeout=Duration()),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        ),
        (
            pb.CheckHealthRequest(scope=EVERYTHING, timeout=Duration(seconds=-1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        ),
        (
            pb.CheckHealthRequest(scope=pb.HealthScope(provider="gamma")),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_PROVIDER",
        ),
        (
            pb.CheckHealthRequest(scope=pb.HealthScope(target=router_pb2.Target(provider="alpha", model="x"))),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_TARGET",
        ),
    ],
    ids=["no scope", "no time", "negative time", "no such provider", "no such target"],
)
async def test_what_names_nothing_is_refused_and_nothing_checked(
    sidecar: Sidecar, alpha: Listed, request_: pb.CheckHealthRequest, code: grpc.StatusCode, why: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sidecar.admin.CheckHealth(request_, timeout=GENEROUS_SECONDS)

    assert (caught.value.code(), reason(caught.value)) == (code, why)
    assert alpha.asked == []
    assert alpha.calls == []
