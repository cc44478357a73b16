"""The lines that calls leave in the log, over a real connection: correlated, redacted, and none for what went well."""

from __future__ import annotations

import asyncio
import io
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from tests.api.sidecar import HELLO, ScriptedUpstream, Sidecar, everywhere, failing, running
from tests.unit.config.loading import loaded
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server import app
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamEvent
from turnout_server.telemetry.logs.access_log import AccessLog, AccessMode
from turnout_server.telemetry.logs.logs import LogFormat, configure_logging

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACED = (("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-00"),)
SECRET = "sk-proj-abcdefghijklmnop"
EXECUTE = pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(strategy=pb.STRATEGY_PRIORITY))
BROKEN = failing(FailureKind.SERVER_ERROR, status=500)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Written:
    """What was logged of calls."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        configure_logging(log_format=LogFormat.JSON, stream=self.stream)

    @property
    def calls(self) -> list[dict[str, Any]]:
        lines = [orjson.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == "call"]


@asynccontextmanager
async def logging_calls(mode: AccessMode, **options: Any) -> AsyncIterator[tuple[Sidecar, Written]]:
    written = Written()
    log = AccessLog(structlog.get_logger("turnout"), clock=time.monotonic, rng=random.Random(1), mode=mode)
    async with running(access_log=log, **options) as sidecar:
        yield sidecar, written


async def test_calls_that_go_well_have_no_line_by_default() -> None:
    async with logging_calls(AccessMode.PROBLEMS) as (sidecar, written):
        await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        await sidecar.stub.Execute(EXECUTE, timeout=60)
        async for _ in sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60):
            pass

    assert written.calls == []


async def test_a_failed_call_has_one_line_with_its_trace_and_its_decision() -> None:
    async with logging_calls(AccessMode.PROBLEMS, scripts=everywhere(BROKEN)) as (sidecar, written):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await sidecar.stub.Execute(EXECUTE, timeout=60, metadata=TRACED)
        decision_id = dict(failed.value.trailing_metadata() or ())["turnout-decision-id"]

    [line] = written.calls
    assert (line["level"], line["method"], line["result"]) == ("warning", "Execute", "ATTEMPTS_EXHAUSTED")
    assert (line["trace_id"], line["decision_id"]) == (TRACE_ID, decision_id)
    assert len(line["span_id"]) == 16
    assert line["failures"].split() == ["SERVER_ERROR"] * line["attempt_count"]


async def test_a_call_that_was_served_by_another_target_has_one_line_too() -> None:
    async with logging_calls(AccessMode.PROBLEMS, scripts={"alpha/large": [BROKEN]}) as (sidecar, written):
        async for _ in sidecar.stub.ExecuteStream(
            pb.ExecuteStreamRequest(input=HELLO, options=EXECUTE.options), timeout=60
        ):
            pass

    [line] = written.calls
    assert (line["level"], line["method"], line["result"]) == ("info", "ExecuteStream", "OK")
    # A lone failure of a server is tried once more before another target is.
    assert (line["attempt_count"], line["failures"]) == (3, "SERVER_ERROR SERVER_ERROR")
    assert line["target"] != "alpha/large"


async def test_a_bad_request_has_a_line_and_what_looks_like_a_key_is_taken_out_of_it() -> None:
    async with logging_calls(AccessMode.PROBLEMS) as (sidecar, written):
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Route(pb.RouteRequest(options=pb.RoutingOptions(policy=SECRET)), timeout=60)

    [line] = written.calls
    assert (line["method"], line["result"]) == ("Route", "UNKNOWN_POLICY")
    assert SECRET not in written.stream.getvalue()


async def test_what_a_flood_left_out_is_told_though_no_call_follows(tmp_path: Path) -> None:
    calls = 400
    text = """
listen: {address: "127.0.0.1:0"}
health: {address: ""}
metrics: {address: ""}
telemetry: {access_log: all}
"""
    with capture_logs() as lines:
        async with (
            app.running(loaded(tmp_path, text), {}) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as to,
        ):
            stub = router_pb2_grpc.RouterServiceStub(to)
            await asyncio.gather(
                *(stub.Route(pb.RouteRequest(), timeout=60) for _ in range(calls)), return_exceptions=True
            )
            async with asyncio.timeout(60):
                while told(lines) < calls:  # noqa: ASYNC110  # lines wake nobody
                    await asyncio.sleep(0.01)

    assert told(lines) == calls


def told(lines: Sequence[Mapping[str, Any]]) -> int:
    """How many calls have a line, or are counted in one."""
    return sum(line.get("line_count", 1) for line in lines if line["event"] in {"call", "call.left_out"})


async def test_what_a_caller_sends_that_is_malformed_is_not_quoted() -> None:
    metadata = (*TRACED, ("tracestate", "a==of the caller"), ("baggage", "of the caller"))
    async with logging_calls(AccessMode.PROBLEMS) as (sidecar, written):
        await sidecar.stub.Route(pb.RouteRequest(), timeout=60, metadata=metadata)

    assert written.stream.getvalue() == ""


async def test_whatever_is_logged_in_a_call_carries_its_decision_and_its_trace() -> None:
    library = logging.getLogger("a.library")
    decisions = list[str]()

    class Complaining(ScriptedUpstream):
        async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
            library.warning("odd")
            async with aclosing(super().stream(call)) as reads:
                async for read in reads:
                    yield read

    every = {name: Complaining() for name in ("alpha", "beta")}
    async with logging_calls(AccessMode.ALL, upstreams=every) as (sidecar, written):
        for request_id in ("", "once"):
            request = pb.ExecuteRequest(input=HELLO, request_id=request_id)
            answer = await sidecar.stub.Execute(request, timeout=60, metadata=TRACED)
            decisions.append(answer.decision.decision_id)
        async for message in sidecar.stub.ExecuteStream(
            pb.ExecuteStreamRequest(input=HELLO), timeout=60, metadata=TRACED
        ):
            decisions += [message.decision.decision_id] if message.HasField("decision") else []

    lines = [orjson.loads(line) for line in written.stream.getvalue().splitlines()]
    assert [line["decision_id"] for line in lines if line["event"] == "odd"] == decisions
    assert [line["decision_id"] for line in written.calls] == decisions
    assert {line["trace_id"] for line in lines} == {TRACE_ID}


async def test_all_has_a_line_for_every_call() -> None:
    async with logging_calls(AccessMode.ALL) as (sidecar, written):
        profile, caller = pb.RequestProfile(task="chat"), pb.Caller(tenant="acme")
        await sidecar.stub.Route(pb.RouteRequest(profile=profile, caller=caller), timeout=60)
        await sidecar.stub.Execute(EXECUTE, timeout=60)

    assert [(line["method"], line["result"]) for line in written.calls] == [("Route", "OK"), ("Execute", "OK")]
    assert all(line["target"] for line in written.calls)
    assert (written.calls[0]["task"], written.calls[0]["tenant"]) == ("chat", "acme")
    assert "Hello" not in written.stream.getvalue()
