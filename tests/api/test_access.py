"""Who may call what: tokens with roles and tenants, on every kind of RPC, before anything of a request is read."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]  # likewise

from tests.api.sidecar import HELLO, LOCAL, Sidecar, details, reason, running
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2, router_pb2_grpc, session_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.api.access import ADMIN_SERVICE, LOG_EVERY_SECONDS, Need, Refusals, need
from turnout_server.api.principals import Identity, Role
from turnout_server.api.sockets import UnixSocket
from turnout_server.api.tokens import Token, Tokens
from turnout_server.core.errors import UnauthenticatedError

CALL, ADMIN, ACME = "planted-call-token-01", "planted-admin-token-01", "planted-acme-token-01"
OTHER = "planted-other-token-01"


def tokens() -> Tokens:
    return Tokens(
        [
            Token(text=CALL, identity=Identity(role=Role.CALL, token="one")),
            Token(text=OTHER, identity=Identity(role=Role.CALL, token="two")),
            Token(text=ADMIN, identity=Identity(role=Role.ADMIN, token="three")),
            Token(text=ACME, identity=Identity(role=Role.CALL, token="four", tenant="acme")),
        ]
    )


@asynccontextmanager
async def guarded() -> AsyncIterator[Sidecar]:
    async with running(settings=dataclasses.replace(LOCAL, tokens=tokens())) as sidecar:
        yield sidecar


def with_token(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


async def refused(call: Awaitable[object], what: str = "") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert "ErrorInfo" in details(caught.value), what
    assert "planted" not in str(caught.value)
    return caught.value.code(), reason(caught.value)


UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def first(stream: object) -> object:
    async for message in stream:  # type: ignore[attr-defined]  # of several types
        return message
    return None


def _reflection(channel: grpc.aio.Channel, sent: tuple[tuple[str, str], ...]) -> object:
    # Called with one message at once: where the answer comes before a streaming caller has sent its first, gRPC's
    # client now and then tells of the sending that failed, and not of the answer.
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
    return method(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString(), metadata=sent)


Call = Callable[[grpc.aio.Channel, tuple[tuple[str, str], ...]], Awaitable[object]]
CALLS: dict[str, Call] = {
    "Route": lambda channel, sent: router_pb2_grpc.RouterServiceStub(channel).Route(pb.RouteRequest(), metadata=sent),
    "Execute": lambda channel, sent: router_pb2_grpc.RouterServiceStub(channel).Execute(
        pb.ExecuteRequest(input=HELLO), metadata=sent
    ),
    "ExecuteStream": lambda channel, sent: first(
        router_pb2_grpc.RouterServiceStub(channel).ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), metadata=sent)
    ),
    "WatchProviderStatus": lambda channel, sent: first(
        router_pb2_grpc.RouterServiceStub(channel).WatchProviderStatus(pb.WatchProviderStatusRequest(), metadata=sent)
    ),
    "ListDecisions": lambda channel, sent: admin_pb2_grpc.AdminServiceStub(channel).ListDecisions(
        admin_pb2.ListDecisionsRequest(), metadata=sent
    ),
    "Check": lambda channel, sent: health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), metadata=sent
    ),
    "ServerReflectionInfo": lambda channel, sent: first(_reflection(channel, sent)),
}


@pytest.mark.parametrize("method", CALLS)
async def test_every_kind_of_rpc_needs_one_of_the_tokens(method: str) -> None:
    call = CALLS[method]
    async with guarded() as sidecar:
        for sent in (
            (),
            with_token("planted-wrong-token-01"),
            with_token(CALL + "x"),
            (("authorization", "Basic eA=="),),
        ):
            assert UNAUTHENTICATED == await refused(call(sidecar.channel, sent))
        assert sidecar.upstream.calls == []

        assert await call(sidecar.channel, with_token(CALL)) is not None


async def test_no_method_of_any_service_is_open_without_a_token() -> None:
    services = [
        service
        for file in (router_pb2, admin_pb2, session_pb2, health_pb2, reflection_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    async with guarded() as sidecar:
        for service in services:
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = sidecar.channel.unary_unary(path)
                assert UNAUTHENTICATED == await refused(call(b""), path)

    assert len(services) == 5


async def test_the_word_bearer_may_be_written_in_any_case() -> None:
    async with guarded() as sidecar:
        assert await CALLS["Route"](sidecar.channel, (("authorization", f"bEARER  {CALL}"),))


@pytest.mark.parametrize("values", [(CALL, ADMIN), (ADMIN, CALL), (CALL, CALL), (CALL, "planted-wrong-token-01")])
async def test_of_several_tokens_none_counts(values: tuple[str, str]) -> None:
    # Whoever stands before the sidecar may look at another one of them than it does.
    sent = tuple(("authorization", f"Bearer {value}") for value in values)
    async with guarded() as sidecar:
        assert UNAUTHENTICATED == await refused(CALLS["Route"](sidecar.channel, sent))


async def test_health_on_its_own_port_needs_no_token() -> None:
    async with guarded() as sidecar, grpc.aio.insecure_channel(sidecar.bound.health_address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_request_of_nobody_is_refused_before_any_of_it_has_come() -> None:
    never = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    async with guarded() as sidecar:
        path = "/turnout.v1.RouterService/Execute"
        execute: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = sidecar.channel.stream_unary(path)

        assert UNAUTHENTICATED == await refused(execute(requests()))


async def test_role_call_may_look_but_not_change() -> None:
    async with guarded() as sidecar:
        change = sidecar.admin.ClearHistory
        decision = (await sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(CALL))).decision

        assert DENIED == await refused(change(admin_pb2.ClearHistoryRequest(), metadata=with_token(CALL)))
        # What is not built yet is denied likewise: whether it will be is no matter of who may.
        update = sidecar.admin.UpdateRouting(admin_pb2.UpdateRoutingRequest(), metadata=with_token(CALL))
        assert DENIED == await refused(update)
        listed = await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest(), metadata=with_token(CALL))
        assert [decision.decision_id] == [record.decision.decision_id for record in listed.decisions]

        removed = await change(admin_pb2.ClearHistoryRequest(), metadata=with_token(ADMIN))
        assert removed.removed_count == 1


async def test_a_replaced_token_is_no_longer_taken_and_the_new_one_is() -> None:
    valid = tokens()
    async with running(settings=dataclasses.replace(LOCAL, tokens=valid)) as sidecar:
        await sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(CALL))
        valid.replace([Token(text="planted-new-token-0001", identity=Identity(role=Role.CALL, token="one"))])

        assert UNAUTHENTICATED == await refused(sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(CALL)))
        await sidecar.stub.Route(pb.RouteRequest(), metadata=with_token("planted-new-token-0001"))


async def test_with_no_valid_token_left_nobody_may_call() -> None:
    async with running(settings=dataclasses.replace(LOCAL, tokens=Tokens())) as sidecar:
        assert UNAUTHENTICATED == await refused(sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(CALL)))
        assert UNAUTHENTICATED == await refused(sidecar.stub.Route(pb.RouteRequest()))


async def test_a_unix_socket_asks_for_tokens_too(tmp_path: Path) -> None:
    settings = dataclasses.replace(LOCAL, address="", socket=UnixSocket(path=str(tmp_path / "t.sock")), tokens=tokens())
    async with running(settings=settings) as sidecar:
        assert UNAUTHENTICATED == await refused(sidecar.stub.Route(pb.RouteRequest()))
        await sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(CALL))


async def test_a_token_of_a_tenant_makes_every_request_that_tenants() -> None:
    other = pb.Caller(tenant="other")
    async with guarded() as sidecar:
        sent = with_token(ACME)
        asked = [pb.RouteRequest(), pb.RouteRequest(caller=pb.Caller(user="u"))]
        asked += [pb.RouteRequest(caller=pb.Caller(tenant="acme")), pb.RouteRequest(caller=other)]
        for request in asked:
            await sidecar.stub.Route(request, metadata=sent)
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=sent)
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, caller=other), metadata=sent)
        async for _ in sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO, caller=other), metadata=sent):
            pass
        report = pb.ReportOutcomeRequest(outcomes=[outcome("", caller=other)])
        await sidecar.stub.ReportOutcome(report, metadata=sent)
        listed = await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest(), metadata=with_token(ADMIN))
        by_tenant = admin_pb2.GetStatisticsRequest(group_by=admin_pb2.DIMENSION_TENANT)
        figures = await sidecar.admin.GetStatistics(by_tenant, metadata=with_token(ADMIN))

        assert ["acme"] * 7 == [record.caller.tenant for record in listed.decisions]
        assert ["acme"] == [group.name for group in figures.groups]


def outcome(decision_id: str, caller: pb.Caller | None = None) -> pb.Outcome:
    target = pb.Target(provider="alpha", model="large")
    return pb.Outcome(decision_id=decision_id, attempt_id="a-1", target=target, ok=True, caller=caller)


async def test_a_token_of_a_tenant_sees_and_judges_the_past_of_that_tenant_alone() -> None:
    async with guarded() as sidecar:
        mine = (await sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(ACME))).decision.decision_id
        asked = pb.RouteRequest(caller=pb.Caller(tenant="other"))
        theirs = (await sidecar.stub.Route(asked, metadata=with_token(CALL))).decision.decision_id
        sent, admin = with_token(ACME), sidecar.admin

        listed = await admin.ListDecisions(admin_pb2.ListDecisionsRequest(), metadata=sent)
        assert [mine] == [record.decision.decision_id for record in listed.decisions]
        assert (await admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=mine), metadata=sent)).HasField(
            "decision"
        )
        found = admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=theirs), metadata=sent)
        assert await refused(found) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_DECISION")
        wanted = admin_pb2.ListDecisionsRequest(tenant="other")
        assert DENIED == await refused(admin.ListDecisions(wanted, metadata=sent))
        assert DENIED == await refused(
            admin.GetStatistics(admin_pb2.GetStatisticsRequest(tenant="other"), metadata=sent)
        )
        by_tenant = admin_pb2.GetStatisticsRequest(group_by=admin_pb2.DIMENSION_TENANT)
        figures = await admin.GetStatistics(by_tenant, metadata=sent)
        assert ["acme"] == [group.name for group in figures.groups]
        assert DENIED == await refused(admin.ListBudgets(admin_pb2.ListBudgetsRequest(), metadata=sent))
        reports = pb.ReportOutcomeRequest(outcomes=[outcome(mine), outcome(theirs)])
        results = (await sidecar.stub.ReportOutcome(reports, metadata=sent)).results
        assert [result.status for result in results] == [pb.OUTCOME_STATUS_ACCEPTED, pb.OUTCOME_STATUS_REJECTED]
        assert "another tenant" in results[1].reason
        everything = await admin.ListDecisions(admin_pb2.ListDecisionsRequest(), metadata=with_token(ADMIN))
        assert len(everything.decisions) == 2


async def test_callers_with_tokens_of_their_own_never_share_an_id() -> None:
    async with guarded() as sidecar:
        joined = []
        for token in (CALL, OTHER, CALL):
            request = pb.ExecuteRequest(input=HELLO, request_id="order-7")
            joined.append((await sidecar.stub.Execute(request, metadata=with_token(token))).joined)

    assert joined == [False, False, True]
    assert len(sidecar.upstream.calls) == 2


@pytest.mark.parametrize(("address", "may"), [("127.0.0.1:0", True), ("0.0.0.0:0", False)])
async def test_without_tokens_only_this_machine_may_change_anything(address: str, may: bool) -> None:  # noqa: FBT001
    settings = dataclasses.replace(LOCAL, address=address, insecure=True)
    async with running(settings=settings) as sidecar:
        await sidecar.stub.Route(pb.RouteRequest())
        await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest())
        change = sidecar.admin.ClearHistory(admin_pb2.ClearHistoryRequest())
        if may:
            assert (await change).removed_count == 1
        else:
            assert DENIED == await refused(change)


async def test_refusals_are_counted_by_reason() -> None:
    async with guarded() as sidecar:
        for token in ("", "planted-wrong-token-01"):
            await refused(sidecar.stub.Route(pb.RouteRequest(), metadata=with_token(token)))
        await refused(sidecar.admin.ClearHistory(admin_pb2.ClearHistoryRequest(), metadata=with_token(CALL)))

        assert sidecar.server.refusals.counts == {"unauthenticated": 2, "permission_denied": 1}


def test_the_log_has_one_line_for_many_refusals_and_how_many_there_were() -> None:
    now = 100.0
    error = UnauthenticatedError("no token")
    with structlog.testing.capture_logs() as lines:
        refusals = Refusals(structlog.get_logger(), lambda: now)
        for _ in range(5):
            refusals.count("unauthenticated", error, "RouterService/Route", "ipv4:10.0.0.7:4711")
        now += LOG_EVERY_SECONDS
        refusals.count("unauthenticated", error, "RouterService/Route", "ipv4:10.0.0.7:4711")

    assert [line["refused_count"] for line in lines] == [1, 5]
    assert {line["peer"] for line in lines} == {"ipv4:10.0.0.7:4711"}


def test_every_method_that_the_contract_says_may_be_denied_needs_role_admin() -> None:
    text = (Path(__file__).parents[2] / "protos" / "turnout" / "v1" / "admin.proto").read_text()
    methods = re.findall(r"((?:^ *//[^\n]*\n)+) *rpc (\w+)\(", text, re.MULTILINE)
    denied = {name for comment, name in methods if "PERMISSION_DENIED" in comment}
    service = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]

    assert {name for _, name in methods} == {method.name for method in service.methods}
    assert denied == {method.name for method in service.methods if need(ADMIN_SERVICE, method.name) is Need.ADMIN}


def test_what_is_no_administration_asks_for_no_role() -> None:
    sessions = session_pb2.DESCRIPTOR.services_by_name["SessionService"]

    assert {need(sessions.full_name, method.name) for method in sessions.methods} == {Need.CALL}


def test_a_token_is_found_by_all_of_its_text_and_never_shown() -> None:
    known = tokens()

    assert known.find(CALL) == Identity(role=Role.CALL, token="one")
    assert [known.find(text) for text in ("", CALL[:-1], CALL + " ", CALL.upper(), "ü" * 20)] == [None] * 5
    assert "planted" not in repr(Token(text=CALL, identity=Identity())) + repr(vars(Tokens)) + repr(known)
